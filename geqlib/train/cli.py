"""`geqlib fit | validate | test | predict`: Lightning's CLI with this library's defaults."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any, Literal

import lightning as L
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import EMAWeightAveraging, LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

import geqlib.data
import geqlib.models  # noqa: F401  (so that configurations can name classes without their module)
from geqlib.files.cache import replace_file
from geqlib.files.checkpoint import read_checkpoint
from geqlib.train.record import RunRecord
from geqlib.train.resume import ReseedBatches, SafeCheckpointIO
from geqlib.train.task import Task

# advice that Lightning gives on every run, which a user of these commands cannot act on
HINTS = (
    "The '.*' does not have many workers",
    "The number of training batches",
    "LightningCLI's args parameter",
    "Checkpoint directory .* exists and is not empty",
    "Be aware that when using `ckpt_path`",
    "The dirpath has changed",
    "`isinstance\\(treespec, LeafSpec\\)`",
    "`torch.jit.script` is deprecated",
)


class TrainCLI(LightningCLI):
    """Options beside Lightning's: `--ema` and `--monitor`.

    Every run gets, in `trainer.default_root_dir`: config.yaml, metrics/ (CSV), tensorboard/,
    checkpoints/last.ckpt at each epoch end and checkpoints/best.ckpt, fit.json and results.json.
    """

    def __init__(self, args: list[str] | None = None, run: bool = True) -> None:
        for hint in HINTS:
            warnings.filterwarnings("ignore", message=f".*{hint}")
        logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
        self.commands = run
        quiet = {"exit_on_error": False}
        parsers = {"exit_on_error": False, **{name: quiet for name in self.subcommands()}}
        try:
            super().__init__(
                model_class=Task,
                datamodule_class=L.LightningDataModule,
                subclass_mode_model=True,
                subclass_mode_data=True,
                seed_everything_default=0,
                save_config_callback=KeepConfig,
                save_config_kwargs={"save_to_log_dir": False},
                trainer_defaults={
                    "default_root_dir": "runs/default",
                    "gradient_clip_val": 0.5,
                    "enable_model_summary": False,
                },
                parser_kwargs=parsers,
                auto_configure_optimizers=False,
                args=args,
                run=run,
            )
        except MisconfigurationException as error:
            raise ValueError(str(error)) from error

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument(
            "--ema",
            type=float | None,
            default=None,
            help="decay a step of the averaged weights, which are validated and saved",
        )
        parser.add_argument(
            "--monitor", type=str, default="val/mse", help="metric that chooses best.ckpt"
        )
        parser.add_argument(
            "--monitor_mode",
            type=Literal["min", "max"],
            default="min",
            help="whether the metric is an error (min) or a score (max)",
        )
        if not self.commands:  # so that the config.yaml of a run can be read without a command
            for name in ("--ckpt_path", "--weights_only"):
                parser.add_argument(name, default=None)

    def _parse_ckpt_path(self) -> None:
        # Lightning would load the file here, and report a bad one with a traceback
        if not self.commands:
            return
        command = self.config["subcommand"]
        path = self.config[command].get("ckpt_path")
        if path is None and command != "fit":
            raise ValueError(
                f"geqlib {command} needs a trained model: give it --ckpt_path "
                "RUN/checkpoints/best.ckpt."
            )
        if path and path not in ("best", "last", "hpc", "registry"):
            read_checkpoint(path)

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        given = self._get(self.config_init, "trainer", default={})
        root = Path(given["default_root_dir"])
        fitting = self.config.get("subcommand") == "fit"
        if given.get("logger") is None:
            kwargs["logger"] = _loggers(root) if fitting else False
        kwargs["callbacks"] = [*(given.get("callbacks") or []), *self._callbacks(root, fitting)]
        kwargs["plugins"] = [*(given.get("plugins") or []), SafeCheckpointIO()]
        return super().instantiate_trainer(**kwargs)

    def _callbacks(self, root: Path, fitting: bool) -> list[L.Callback]:
        seed = self._get(self.config, "seed_everything", default=0)
        ema = self._get(self.config, "ema")
        monitor = self._get(self.config, "monitor")
        record = RunRecord(root, seed)
        if not fitting:
            return [record]
        folder = root / "checkpoints"
        averaging = [] if ema is None else [EMAWeightAveraging(decay=ema, use_buffers=False)]
        mode = self._get(self.config, "monitor_mode")
        best = ModelCheckpoint(
            folder, "best", monitor=monitor, mode=mode, enable_version_counter=False
        )
        last = ModelCheckpoint(
            folder, "last", save_on_train_epoch_end=True, enable_version_counter=False
        )
        return [ReseedBatches(int(seed)), *averaging, LearningRateMonitor(), record, best, last]


class KeepConfig(SaveConfigCallback):
    """Write config.yaml into the run's folder when training starts.

    Not before: a run that cannot start, say from a checkpoint that does not fit, must not replace
    the configuration of the one before it. Without the checkpoint that this part of the run was
    resumed from: the file describes the run.
    """

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        pass

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.is_global_zero:
            self.save_config(trainer, pl_module, "fit")

    def save_config(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        config = self.config.clone()
        config["ckpt_path"] = None
        replace_file(
            Path(trainer.default_root_dir) / "config.yaml",
            lambda part: self.parser.save(
                config, part, skip_unset=False, overwrite=True, multifile=False
            ),
        )


def _loggers(root: Path) -> list[Any]:
    return [CSVLogger(root, "metrics"), TensorBoardLogger(root, "tensorboard")]
