# Milmer: from raw DEAP files to tables and a report. `snakemake --cores all` runs all of it;
# options stand in config.yaml, how to run on a cluster in workflow/profiles/slurm.
import os

from snakemake.settings.types import DeploymentMethod
from snakemake.utils import min_version

min_version("9.27")


# Beside this file, whatever --directory says; --configfile and --config go on top.
configfile: os.path.join(workflow.basedir, "config.yaml")


# Used with --sdm apptainer, once it is built: see workflow/envs/milmer.def. Snakemake refuses an image
# whose path holds a space, also where it is not used.
if (
    " " not in workflow.basedir
    or DeploymentMethod.APPTAINER in workflow.deployment_settings.deployment_method
):

    container: os.path.join(workflow.basedir, "workflow/envs/milmer.sif")


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
