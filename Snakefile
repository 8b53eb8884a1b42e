# Milmer: from raw DEAP files to tables and a report. `snakemake --cores all` runs all of it;
# options stand in config.yaml, how to run on a cluster in workflow/profiles/slurm.
import os

from snakemake.settings.types import DeploymentMethod
from snakemake.utils import min_version

min_version("9.27")


# Also where another workflow uses this file as a module.
HERE = str(workflow.current_basedir)


# Beside this file, whatever --directory says; --configfile and --config go on top.
configfile: os.path.join(HERE, "config.yaml")


# Used with --sdm apptainer, once it is built: see workflow/envs/milmer.def. Snakemake refuses an image
# whose path holds a space, also where it is not used.
if (
    " " not in HERE
    or DeploymentMethod.APPTAINER in workflow.deployment_settings.deployment_method
):

    container: os.path.join(HERE, "workflow/envs/milmer.sif")


include: "rules/common.smk"
include: "rules/data.smk"
include: "rules/tokens.smk"
include: "rules/training.smk"
include: "rules/report.smk"


rule all:
    default_target: True
    input:
        TABLES,
        "results/report/index.html",
