"""What a training is asked to do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config import MODELS_DIR, RunConfig, checkpoint_path


@dataclass(frozen=True)
class TrainingSettings:
    """The run's configuration and the options of `train.py`.

    Attributes:
        run: model, corpus, source, epochs, batch size, learning rate, schedule …
        data_dir: the corpus' directory (None: `data/{dataset}`).
        models_dir: where checkpoints are read and written.
        seed: fixes initial weights, crops, their order and dropout.
        device: auto, cpu, cuda:N or mps.
        precision: auto, float32 or bfloat16.
        plain: see `models.build_model`.
        num_workers: threads that read spectrograms ahead.
        spectrograms: "files" reads crops from disk, "memory" holds all recordings on the device,
            "auto" does that on a GPU that has room.
        musicnn_layout: see `models.musicnn.Musicnn` (None: the source's, or "paper").
        ast_size: size of AST (None: the source's, or "base384").
        ast_init: initial weights of AST: "imagenet", "random" or a file.
        hold_batchnorm: in a final-layer transfer, keep BatchNorm of the frozen layers still.
        skip_missing: leave out recordings without spectrogram or tags.
        restart: begin anew even if there is a state or a finished checkpoint.
        save_every: minutes between saves of the state within an epoch.
        deterministic: only deterministic algorithms, also on CUDA.
        no_graph: on CUDA, launch the operations of every step instead of replaying a recording.
    """

    run: RunConfig
    data_dir: Path | None = None
    models_dir: Path = MODELS_DIR
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    plain: bool = False
    num_workers: int = 4
    spectrograms: str = "auto"
    musicnn_layout: str | None = None
    ast_size: str | None = None
    ast_init: str = "imagenet"
    hold_batchnorm: bool = False
    skip_missing: bool = False
    restart: bool = False
    save_every: float = 10.0
    deterministic: bool = False
    no_graph: bool = False

    @property
    def checkpoint(self) -> Path:
        """Where the result goes."""
        return checkpoint_path(self.models_dir, self.run.dataset.name, str(self.run.name))

    def identity(self, **found: Any) -> dict[str, Any]:
        """All that decides the result, as plain values: a training is continued only by an equal one.

        The number of epochs and the patience are left out: they say when to stop, not what is
        computed until then.

        Args:
            **found: what is known only once corpus, source and device have been opened.
        """
        run = self.run
        from_scratch_ast = run.model.name == "ast" and run.name.source is None
        return {
            "dataset": run.dataset.name,
            "model_name": str(run.name),
            "batch_size": run.batch_size,
            "learning_rate": run.learning_rate,
            "schedule": run.schedule,
            "validation_chunks": run.validation_chunks,
            "seed": self.seed,
            "plain": self.plain or None,
            "ast_init": self.ast_init if from_scratch_ast else None,
            "hold_batchnorm": self.hold_batchnorm if run.name.final_layer_only else None,
            **found,
        }
