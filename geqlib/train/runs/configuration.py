"""Runs as values: a task, its data, and how it is trained; read from a configuration or built."""

from __future__ import annotations

import json
import re
from argparse import ArgumentError
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import lightning as L
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from torch.optim.lr_scheduler import LRScheduler

import geqlib.data
import geqlib.models  # noqa: F401  (so that configurations can name classes without their module)
from geqlib.files.atomic import replace_file
from geqlib.files.checkpoint import read_checkpoint
from geqlib.files.plain import plain
from geqlib.quiet import quiet
from geqlib.train.runs.folders import DEFAULT
from geqlib.train.runs.init_arguments import with_model_of_init
from geqlib.train.runs.integer_types import integers_first
from geqlib.train.runs.loggers import into_folder
from geqlib.train.runs.parser_messages import innermost
from geqlib.train.steps.optimisation import ReduceLROnPlateau
from geqlib.train.tasks.task import Task

Command = Literal["fit", "validate", "test", "predict"]
Config = str | Path | Mapping[str, Any]
Overrides = Mapping[str, Any] | Sequence[str]
SAID = re.compile("Got value|there is no class")  # reports that name the value
# of a run, beside those of its parts
OPTIONS = ("ema", "monitor", "monitor_mode", "early_stopping", "init", "freeze")
# of the trainer, where a run does not say otherwise
TRAINER = {
    "gradient_clip_val": 0.5,
    "enable_model_summary": False,
}


@dataclass
class Run:
    """A task, its data, and how and where it is trained.

    Args:
        task: what is trained.
        data: its data.
        trainer: options of `lightning.Trainer` that differ from `TRAINER`. `default_root_dir` is
            the folder of the run; without one, `fit` makes a new one: runs/default, or
            runs/default-2 and so on where there is one already.
        seed: of the random numbers of training steps. For reproducible weights call
            `lightning.seed_everything` before the task is built, as configurations do.
        ema: decay per step of averaged weights, which are then validated and saved.
        monitor: metric that chooses checkpoints/best.ckpt; by default the `monitor` of the task.
        monitor_mode: whether that metric is an error ("min") or a score ("max").
        early_stopping: number of validations without an improvement of that metric after which
            training ends.
        optimizer, lr_scheduler: `{"class_path": ..., "init_args": {...}}` of what trains in place
            of the task's optimiser and schedule; a scheduler is stepped once an epoch.
        callbacks: of training, beside those that every run has.
        init: a checkpoint, folder of a run or exported model whose weights the run begins with:
            see `geqlib.train.fine_tuning.initial`.
        freeze: names of parts of the model that are not trained: see
            `geqlib.train.fine_tuning.frozen.freeze`.

    Example:
        >>> from geqlib.data import NBodyData
        >>> from geqlib.models import PONITA
        >>> from geqlib.train import DisplacementTask
        >>> task = DisplacementTask(PONITA(1, 1, 0, 1, channels=8, layers=1, edge_dim=1))
        >>> run = Run(task, NBodyData(train=100), {"default_root_dir": "runs/mine"}, ema=0.99)
        >>> run.folder
        PosixPath('runs/mine')
    """

    task: Task
    data: L.LightningDataModule
    trainer: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    ema: float | None = None
    monitor: str = ""
    monitor_mode: Literal["min", "max"] = "min"
    early_stopping: int | None = None
    optimizer: Mapping[str, Any] | None = None
    lr_scheduler: Mapping[str, Any] | None = None
    callbacks: Sequence[L.Callback] = ()
    init: str | Path | None = None
    freeze: Sequence[str] | None = None

    def __post_init__(self) -> None:
        self.monitor = self.monitor or self.task.monitor

    @property
    def folder(self) -> Path:
        return Path(self.trainer.get("default_root_dir") or DEFAULT)


def read_run(config: Config, overrides: Overrides = ()) -> Run:
    """Build what a configuration describes.

    Args:
        config: path of a YAML file, or its content as a dictionary.
        overrides: changes by dotted name, as a dictionary such as `{"model.init_args.lr": 1e-3}` or
            as on the command line, `["--model.init_args.lr=1e-3"]`.

    Raises:
        ValueError: if the configuration is wrong, naming the key.

    Example:
        >>> read_run("configs/nbody_ponita.yaml", {"trainer.max_epochs": 1})  # doctest: +SKIP
    """
    return read_configuration(config, overrides).run


def read_configuration(config: Config, overrides: Overrides = ()) -> ConfigReader:
    """The reader of a configuration, which has its settings and the run; see `read_run`."""
    whole: Any = config
    if isinstance(config, Mapping):
        whole = json.dumps(plain(config, "The configuration"))
    return ConfigReader([f"--config={whole}", *as_arguments(overrides)])


def as_arguments(overrides: Overrides) -> list[str]:
    """Changes to a configuration as the command line takes them."""
    if not isinstance(overrides, Mapping):
        return list(overrides)
    return [
        f"--{key}={value if isinstance(value, str) else json.dumps(plain(value, key))}"
        for key, value in overrides.items()
    ]


class ConfigReader(LightningCLI):
    """Parses a configuration with Lightning's CLI and builds the run, which it does not start.

    Options beside Lightning's: `--ema`, `--monitor`, `--monitor_mode`, `--early_stopping`, `--init`
    and `--freeze`.

    Args:
        arguments: as after `geqlib COMMAND`.
        command: whose options there are beside those of all; None for reading alone.

    Raises:
        ValueError: if a key or value is wrong, or a checkpoint that is named cannot be read.
    """

    def __init__(self, arguments: list[str], command: Command | None = None) -> None:
        self.command = command
        arguments = with_model_of_init(arguments)
        integers_first(L.Trainer.__init__)
        try:
            with quiet():
                super().__init__(
                    model_class=Task,
                    datamodule_class=L.LightningDataModule,
                    subclass_mode_model=True,
                    subclass_mode_data=True,
                    seed_everything_default=0,
                    trainer_defaults=TRAINER,
                    parser_kwargs={
                        "exit_on_error": False,
                        "prog": f"geqlib {command}" if command else "geqlib",
                    },
                    auto_configure_optimizers=False,
                    args=arguments,
                    run=False,
                )
        except (ArgumentError, ValueError, MisconfigurationException) as error:
            raise ValueError(one_sentence(error)) from error
        options = {key: self.config_init[key] for key in OPTIONS}
        named = {key: self.config.get(key) for key in ("optimizer", "lr_scheduler")}
        options |= {key: value.as_dict() for key, value in named.items() if value}
        self.run = Run(
            self.model,
            self.datamodule,
            dict(self.config_init["trainer"]),
            int(self.config["seed_everything"]),
            callbacks=[KeepConfig(self.parser, self.config, save_to_log_dir=False)],
            **options,
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument(
            "--ema",
            type=float | None,
            default=None,
            help="decay per step of the averaged weights, which are validated and saved",
        )
        parser.add_argument(
            "--monitor",
            type=str | None,
            default=None,
            help="metric that chooses best.ckpt; by default that of the task",
        )
        parser.add_argument(
            "--monitor_mode",
            type=Literal["min", "max"],
            default="min",
            help="whether the metric is an error (min) or a score (max)",
        )
        parser.add_argument(
            "--early_stopping",
            type=int | None,
            default=None,
            help="validations without an improvement of the metric after which training ends",
        )
        parser.add_argument(
            "--init",
            type=str | None,
            default=None,
            help="checkpoint or folder of a run whose weights this run begins with (fine-tuning)",
        )
        parser.add_argument(
            "--freeze",
            type=str,
            nargs="+",
            default=None,
            help="names of parts of the model that are not trained, such as embedding layers.0",
        )
        parser.add_optimizer_args()
        parser.add_lr_scheduler_args((ReduceLROnPlateau, LRScheduler))
        if self.command == "fit":
            parser.add_argument(
                "--overwrite",
                action="store_true",
                help="replace the run that the folder holds, as soon as training starts",
            )
        self.subcommand_options: list[str] = []
        if self.command is not None:
            skip: Any = self.subcommands()[self.command]
            self.subcommand_options = parser.add_method_arguments(
                L.Trainer, self.command, skip=skip
            )
        else:  # so that the config.yaml of a run can be read without a command
            for name in ("--ckpt_path", "--weights_only"):
                parser.add_argument(name, default=None)

    def _parse_ckpt_path(self) -> None:
        # Lightning would load the file here, and report a bad one with a traceback
        if self.command is None:
            return
        path = self.config.get("ckpt_path")
        if path is None and self.command != "fit":
            raise ValueError(
                f"geqlib {self.command} needs a trained model: give it --ckpt_path "
                "RUN/checkpoints/best.ckpt."
            )
        if path and path not in ("best", "last", "hpc", "registry"):
            read_checkpoint(path)

    def instantiate_classes(self) -> None:
        written, self.config = self.config, self.config.clone()
        # not in what is kept: the same configuration may be trained in another folder
        into_folder(
            self.config["trainer"].get("logger"), self.config["trainer"]["default_root_dir"]
        )
        super().instantiate_classes()
        if written["monitor"] is None:  # the run's files say what it was
            written["monitor"] = self.config_init["monitor"] = self.model.monitor
        self.config = written

    def instantiate_trainer(self, **options: Any) -> Any:
        """None: `fit`, `test` and so on build their own trainers."""


class KeepConfig(SaveConfigCallback):
    """Write config.yaml into the run's folder when training starts.

    Not before: a run that cannot start, say from a checkpoint that does not fit, must not replace
    the configuration of the one before it. Without the checkpoint that this part of the run was
    resumed from, and without leave to overwrite: the file describes the run.
    """

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        pass

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.is_global_zero and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            self.save_config(trainer, pl_module, "fit")

    def save_config(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        config = self.config.clone()
        config["ckpt_path"] = None
        config["trainer.default_root_dir"] = str(trainer.default_root_dir)
        config.pop("overwrite", None)
        replace_file(
            Path(trainer.default_root_dir) / "config.yaml",
            lambda part: self.parser.save(
                config, part, skip_unset=False, overwrite=True, multifile=False
            ),
        )


def one_sentence(error: Exception) -> str:
    """One line; of jsonargparse's reports, which list every type that was tried, the reason."""
    if isinstance(error, UnicodeDecodeError):
        return f"a file that the command names is not UTF-8 text ({error}): save it as such."
    tried = r"Does not validate against any of the Union subtypes\s+Subtypes: .*?\s+Errors:\s+- "
    text = re.sub(tried, "", str(error), flags=re.DOTALL)
    reason = " ".join(re.split(r"\s+- Expected a <class 'NoneType'>", text)[0].split())
    reason = re.sub(r"(?: - Expected a <class '[\w.]+'>)+(?=\.|\Z)", "", reason)
    reason = innermost(reason)
    if seed := re.fullmatch(r"(-?\d+) is not in bounds, numpy accepts from 0 to (\d+)", reason):
        return f"seed_everything is {seed[1]}: set it to a number from 0 to {seed[2]}."
    value = re.search(r"Given value: (?!Namespace|NestedArg)(.{1,60})\Z", text)
    return f"{reason}. Got value: {value[1]}" if value and not SAID.search(reason) else reason
