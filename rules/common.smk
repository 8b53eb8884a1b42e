# What the rules share: the configuration, what there is to do, and each stage's options and code.
import sys
from pathlib import Path

sys.path.insert(0, workflow.basedir)
# Jobs run the code beside this Snakefile, installed or not.
os.environ["PYTHONPATH"] = os.pathsep.join(
    [workflow.basedir, *filter(None, [os.environ.get("PYTHONPATH")])]
)

from milmer.plan import Plan
from milmer.errors import MilmerError

try:
    PLAN = Plan.read(config)
except MilmerError as error:
    raise WorkflowError(str(error)) from None

MILMER = f"{sys.executable} -m milmer"
ROOT = PLAN.config.dataset.root
TABLES = PLAN.tables("results/tables")


wildcard_constraints:
    subject=r"s\d\d",
    eeg=PLAN.NAME,
    faces=PLAN.NAME,
    backbone=PLAN.NAME,
    labels=PLAN.NAME,
    experiment=PLAN.NAME,
    protocol="segment|trial|loso|stimulus",
    fold=r"s\d\d|s\d\d-k\d+|k\d+",
    seed=r"\d+",
