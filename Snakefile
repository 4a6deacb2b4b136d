"""The whole study: spectrograms → trainings → transfers → evaluations → statistics, tables, figures, report.

    snakemake -n                                        what is left to do
    snakemake -c2                                       everything
    snakemake -c2 makam                                 one corpus as target; or one model: snakemake -c2 ast
    snakemake -c2 evaluation/makam/ast_from_fma.json    one run, and what it needs
    snakemake -c2 so_far                                tables, figures and report of what is done, now

`study.yaml` says which corpora, models and seeds. See study/README.md.
"""

import fcntl
import shlex
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

sys.path.insert(0, workflow.basedir)
from config import DATASETS  # noqa: E402
from datasets.demo.marker import MARKER  # noqa: E402
from runtime.errors import UserError, listed  # noqa: E402
from study.job import cards  # noqa: E402
from study.results import run_names, seed_dir  # noqa: E402
from study.settings import study_settings  # noqa: E402

if not workflow.configfiles:
    configfile: f"{workflow.basedir}/study.yaml"

try:
    STUDY = study_settings(config)
except UserError as error:
    raise WorkflowError(str(error))

ROOT = shlex.quote(str(workflow.basedir))
# Sums, and so weights, depend on the number of threads: it must be the study's, however many processors Snakemake or
# SLURM gives a job. Snakemake sets both variables to those, and PyTorch heeds both.
THREADS = f"OMP_NUM_THREADS={STUDY.threads} MKL_NUM_THREADS={STUDY.threads}"
PYTHON = f"PYTHONPATH={ROOT} {THREADS} {shlex.quote(sys.executable)}"
TABLES = ["single_domain", "transfer", "source_pairs"]
CORPORA, MODEL_NAMES = list(STUDY.corpora), list(STUDY.models)
MODELS_DIR, EVALUATION_DIR, RESULTS = (str(d) for d in (STUDY.models_dir, STUDY.evaluation_dir, STUDY.results_dir))
# Which executor it will be is not known yet, but only that of a cluster is given a number of jobs. Which cards
# this machine has does not matter there.
ON_CLUSTER = workflow.is_main_process and workflow.resource_settings.nodes is not None
CARDS = [] if STUDY.device == "cpu" or ON_CLUSTER else cards()
GPUS = STUDY.gpus_per_run if STUDY.gpus_per_run is not None else min(1, len(CARDS))
if ON_CLUSTER and STUDY.gpus_per_run is None and STUDY.device != "cpu":
    raise WorkflowError("say how many GPUs of the cluster each run is to have: --config gpus_per_run=1")
if CARDS and "gpu" not in workflow.global_resources and workflow.is_main_process:
    workflow.register_resource("gpu", len(CARDS))
# With the models, not with the results: studies with results of their own may share models.
LOCKS = f"{MODELS_DIR}/.locks"
MARKS = f"{MODELS_DIR}/.spectrograms"  # of corpora whose mel-spectrograms are made
REPORT = (
    f"--evaluation_dir {shlex.quote(EVALUATION_DIR)} --models_dir {shlex.quote(MODELS_DIR)} "
    f"--results_dir {shlex.quote(RESULTS)} --datasets {' '.join(CORPORA)} --models {' '.join(MODEL_NAMES)} "
    f"--seeds {' '.join(map(str, STUDY.seeds))}{' --synthetic' if STUDY.synthetic else ''}"
)
RUNNING = f"--device {STUDY.device} --num_workers {STUDY.num_workers}{' --skip_missing' if STUDY.skip_missing else ''}"

onstart:
    # Two Snakemakes at once would train everything twice. Unlike Snakemake's own, this lock ends with its process.
    global LOCK
    Path(RESULTS).mkdir(parents=True, exist_ok=True)
    LOCK = open(Path(RESULTS) / ".workflow.lock", "a")
    try:
        fcntl.flock(LOCK, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise WorkflowError(f"another snakemake is at work in {RESULTS}; wait for it or stop it")
    # Told now, not after the hours that corpora before it take.
    needed = {job.wildcards.dataset for job in workflow.dag.needrun_jobs() if job.rule.name in ("train", "evaluate")}
    absent = [str(path) for name, path in STUDY.corpora.items() if name in needed and not path.is_dir()]
    if absent and STUDY.demo is None:
        raise WorkflowError(
            f"corpora: no directory {listed(absent, most=6)}; data/README.md tells how to get one. "
            "Or leave the corpus out of the configuration."
        )


onerror:
    wanted = evaluations()
    missing = [path for path in wanted if not Path(path).is_file()]
    told = f"{len(wanted) - len(missing)} of {len(wanted)} evaluations are there"
    told += f"; missing: {listed(missing)}" if missing else ""
    print(f"{told}. `so_far` as target makes tables and report of what is there.", file=sys.stderr)


# Of a target that cannot be Snakemake would say no more than that there is no rule to produce it.
for _target in sys.argv[1:] if workflow.is_main_process else []:
    if _reason := STUDY.reason_against(_target):
        raise WorkflowError(_reason)


wildcard_constraints:
    seed=r"(seed_[1-9]\d*/)?",
    dataset="|".join(CORPORA),
    run=rf"({'|'.join(MODEL_NAMES)})(_from_({'|'.join(CORPORA)})(_f)?)?",


def seed_part(seed):
    """The directory of a seed as it stands in a path: empty for seed 0."""
    return "" if seed == 0 else f"{seed_dir(Path(), seed)}/"


def seed_number(wildcards):
    return wildcards.seed.rstrip("/").removeprefix("seed_") or "0"


def lock_of(wildcards):
    return shlex.quote(f"{LOCKS}/seed_{seed_number(wildcards)}.{wildcards.dataset}.{wildcards.run}")


def evaluations(datasets=CORPORA, models=MODEL_NAMES):
    return [
        f"{EVALUATION_DIR}/{seed_part(seed)}{dataset}/{run}.json"
        for dataset in datasets
        for run in run_names(dataset, CORPORA, models)
        for seed in STUDY.seeds
    ]


def source_checkpoint(wildcards):
    """What a transfer starts from: the model trained on the source, of the same seed."""
    model, _, source = wildcards.run.removesuffix("_f").partition("_from_")
    return [f"{MODELS_DIR}/{wildcards.seed}{source}/{model}.pth"] if source else []


def spectrograms_of(wildcards):
    """A corpus that has audio, will have it, or had it when its mel-spectrograms were made, needs these made."""
    done = Path(MARKS) / f"{wildcards.dataset}.done"
    has_audio = STUDY.demo is not None or (STUDY.corpora[wildcards.dataset] / "audios").is_dir() or done.is_file()
    return [str(done)] if has_audio and DATASETS[wildcards.dataset].has_audio else demo_corpus_of(wildcards)


def demo_corpus_of(wildcards):
    return [str(STUDY.corpora[wildcards.dataset] / MARKER)] if STUDY.demo is not None else []


localrules:
    all,


rule all:
    input:
        f"{RESULTS}/report.html",
        expand(f"{RESULTS}/{{table}}.{{suffix}}", table=TABLES, suffix=["csv", "md", "tex"]),


for _dataset in CORPORA:

    rule:
        name: _dataset
        localrule: True
        input:
            evaluations([_dataset]),


for _model in MODEL_NAMES:

    rule:
        name: _model
        localrule: True
        input:
            evaluations(models=[_model]),


if STUDY.demo is not None:
    for _dataset, _directory in STUDY.corpora.items():

        rule:
            name: f"demo_corpus_{_dataset}"
            output:
                update(str(_directory / MARKER)),
            params:
                lock=shlex.quote(f"{LOCKS}/{_dataset}"),
                command=shlex.join(
                    ["--dataset", _dataset, "--out", str(_directory)]
                    + [text for key, value in STUDY.demo.items() for text in (f"--{key}", str(value))]
                ),
            shell:
                "{PYTHON} -m study.job --lock {params.lock} -- -m datasets.demo {params.command}"


rule spectrograms:
    """Mel-spectrograms of a corpus; what is there is left alone. Files that fail are listed in failed.tsv."""
    input:
        demo_corpus_of,
    output:
        touch(f"{MARKS}/{{dataset}}.done"),
    params:
        data_dir=lambda wildcards: shlex.quote(str(STUDY.corpora[wildcards.dataset])),
        lock=lambda wildcards: shlex.quote(f"{LOCKS}/{wildcards.dataset}"),
        # With skip_missing, recordings whose audio cannot be decoded are left out: exit code 3.
        accept="|| test $? -eq 3" if STUDY.skip_missing else "",
    threads: workflow.resource_settings.cores or 1  # on a cluster, its profile says how many
    shell:
        "{PYTHON} -m study.job --lock {params.lock} -- {ROOT}/preprocessing/create_mel_spectrograms.py "
        "--dataset {wildcards.dataset} --data_dir {params.data_dir} --workers {threads} {params.accept}"


rule train:
    """One training. `train.py` resumes one that was cut and leaves a finished one alone, so nothing is deleted first."""
    input:
        spectrograms=spectrograms_of,
        source=source_checkpoint,
    output:
        update(f"{MODELS_DIR}/{{seed}}{{dataset}}/{{run}}.pth"),
    params:
        data_dir=lambda wildcards: shlex.quote(str(STUDY.corpora[wildcards.dataset])),
        models_dir=lambda wildcards: shlex.quote(f"{MODELS_DIR}/{wildcards.seed}".rstrip("/")),
        options=lambda wildcards: STUDY.training_options(wildcards.run.partition("_from_")[0]),
        seed=seed_number,
        lock=lock_of,
    threads: STUDY.threads
    resources:
        gpu=GPUS,
    shell:
        "{PYTHON} -m study.job --lock {params.lock} --gpus {GPUS} -- {ROOT}/train.py --dataset {wildcards.dataset} "
        "--model_name {wildcards.run} --data_dir {params.data_dir} --models_dir {params.models_dir} "
        "--seed {params.seed} {params.options} {RUNNING}"


rule evaluate:
    input:
        checkpoint=f"{MODELS_DIR}/{{seed}}{{dataset}}/{{run}}.pth",
    output:
        f"{EVALUATION_DIR}/{{seed}}{{dataset}}/{{run}}.json",
        f"{EVALUATION_DIR}/{{seed}}{{dataset}}/{{run}}.csv",
        f"{EVALUATION_DIR}/{{seed}}{{dataset}}/{{run}}.txt",
    params:
        data_dir=lambda wildcards: shlex.quote(str(STUDY.corpora[wildcards.dataset])),
        models_dir=lambda wildcards: shlex.quote(f"{MODELS_DIR}/{wildcards.seed}".rstrip("/")),
        evaluation_dir=lambda wildcards: shlex.quote(f"{EVALUATION_DIR}/{wildcards.seed}".rstrip("/")),
        lock=lock_of,
    threads: STUDY.threads
    resources:
        gpu=GPUS,
    shell:
        "{PYTHON} -m study.job --lock {params.lock} --gpus {GPUS} -- {ROOT}/evaluate.py --dataset {wildcards.dataset} "
        "--model_name {wildcards.run} --data_dir {params.data_dir} --models_dir {params.models_dir} "
        "--evaluation_dir {params.evaluation_dir} --precision {STUDY.precision} {RUNNING}"


rule statistics:
    """Bootstrap intervals and paired comparisons of all runs on a target."""
    input:
        lambda wildcards: evaluations([wildcards.dataset]),
    output:
        f"{RESULTS}/statistics/{{dataset}}.json",
    params:
        resamples=STUDY.resamples,
    threads: 2
    shell:
        "{PYTHON} -m study.comparisons --dataset {wildcards.dataset} --resamples {params.resamples} "
        "--threads {threads} {REPORT}"


rule tables:
    input:
        expand(f"{RESULTS}/statistics/{{dataset}}.json", dataset=CORPORA),
    output:
        expand(f"{RESULTS}/{{table}}.{{suffix}}", table=TABLES, suffix=["csv", "md", "tex"]),
    shell:
        "{PYTHON} -m study.tables {REPORT}"


rule figures:
    input:
        expand(f"{RESULTS}/statistics/{{dataset}}.json", dataset=CORPORA),
    output:
        directory(f"{RESULTS}/figures"),
    shell:
        "{PYTHON} -m study.figures {REPORT}"


rule report:
    input:
        rules.tables.output,
        rules.figures.output,
        expand(f"{RESULTS}/statistics/{{dataset}}.json", dataset=CORPORA),
    output:
        f"{RESULTS}/report.html",
    shell:
        "{PYTHON} -m study.report {REPORT}"


rule so_far:
    """Tables, figures and report of the evaluations there are; the report says which are missing."""
    localrule: True
    params:
        targets=[name for name in CORPORA if any(Path(path).is_file() for path in evaluations([name]))],
        where=f"{REPORT} --results_dir {shlex.quote(RESULTS)}/so_far",
        resamples=STUDY.resamples,
    shell:
        "for target in {params.targets}; do "
        "{PYTHON} -m study.comparisons --dataset $target --resamples {params.resamples} {params.where}; done; "
        "{PYTHON} -m study.tables {params.where}; {PYTHON} -m study.figures {params.where}; "
        "{PYTHON} -m study.report {params.where}"
