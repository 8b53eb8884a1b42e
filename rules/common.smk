# What the rules share: the configuration, what there is to do, and each stage's options and code.
import gc
import sys
from pathlib import Path

# Snakemake's libraries are a large heap that never becomes garbage: let Python no longer look
# through it again and again while the graph of jobs is built.
gc.freeze()

sys.path.insert(0, HERE)
# Jobs run the code beside this Snakefile with the Python that Snakemake runs with.
for variable, folder in (
    ("PYTHONPATH", HERE),
    ("PATH", Path(sys.executable).parent),
    ("PATH", Path(HERE) / "workflow/slurm"),  # an sbatch that waits for its turn
):
    # An empty entry is the working directory.
    others = [e for e in os.environ.get(variable, "").split(os.pathsep) if e]
    os.environ[variable] = os.pathsep.join([str(folder), *others])
# Snakemake's log names the user, who in a container may be a number without a name.
if not any(map(os.environ.get, ("LOGNAME", "USER", "LNAME", "USERNAME"))):
    os.environ.update(LOGNAME=str(os.getuid()))
# As `python -P`: a yaml.py in the working directory is not the library of that name.
os.environ.update(PYTHONSAFEPATH="1")

from milmer.config_files import workflow_config
from milmer.errors import MilmerError
from milmer.plan import Plan, Untracked
from milmer.plan.contents import content
from milmer.plan.paths import NAME
from milmer.plan.problems import require_ready
from milmer.plan.resume import Run, require_no_other
from milmer.plan.snakemake_state import as_argument
from milmer.planned import NOTE

try:
    if workflow.is_main_process:
        require_no_other(Path())
    is_module = not workflow.modifier.is_main_snakefile()
    CONFIG = workflow_config(
        config,
        # Those of a workflow that uses this one as a module are its own.
        [] if is_module else map(Path, workflow.config_settings.configfiles),
        alone=workflow.config_settings.replace_workflow_config,
    )
    PLAN = Plan.read(CONFIG)
    if workflow.is_main_process:
        require_ready(PLAN, elsewhere=workflow.non_local_exec)
except MilmerError as error:
    raise WorkflowError(str(error)) from None

if workflow.is_main_process:
    for warning in PLAN.warnings:
        logger.warning(f"milmer: {warning}")


# For `milmer resume` and `milmer status`; jobs hold to the code that is noted.
onstart:
    note = Run.begun(workflow, CONFIG).note(Path())
    os.environ[NOTE] = str(note.absolute())


TABLES = PLAN.results.tables()
READ_AS_TEXT = [table for table in TABLES if table.endswith(".csv")]

# Without a limit all jobs would start on the GPUs at once.
if PLAN.training.gpu_places and "gpu" not in workflow.global_resources:
    workflow.register_resource("gpu", PLAN.training.gpu_places)


def on_gpu(device):
    """Resources of jobs that compute on the device of their wildcards."""

    def asked(name):
        return lambda wildcards: PLAN.training.gpu_resources(
            device(wildcards), workflow.non_local_exec
        ).get(name)

    return {name: asked(name) for name in PLAN.training.gpu_resource_names}


# On a cluster a group of jobs is given what one of them needs (workflow/profiles/slurm), and the
# job that runs it is not told of that limit.
if not workflow.is_main_process:
    workflow.register_resource("in_group", 1)


wildcard_constraints:
    subject=PLAN.dataset.subject_pattern,
    eeg=NAME,
    faces=NAME,
    backbone=NAME,
    labels=NAME,
    experiment=NAME,
    protocol=PLAN.training.protocol_pattern,
    fold=PLAN.training.fold_pattern,
    seed=r"\d+",
