"""Options of single runs that commands of several runs set themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

OF_ONE_RUN = {
    "trainer.default_root_dir": "name a folder by --out",
    "ckpt_path": "leave it out",
}


def refuse_set_options(words: Sequence[str], refused: Mapping[str, str]) -> None:
    """Refuse options that would have no effect, as the command sets them for each run.

    Args:
        words: of the command line.
        refused: options by name, without `init_args`, and what to do instead.

    Raises:
        ValueError: naming the option.

    Example:
        >>> refuse_set_options(["--data.init_args.fold=1"], {"data.fold": "use --folds"})
        Traceback (most recent call last):
        ...
        ValueError: --data.fold is of one run, and this command makes several: use --folds.
    """
    for word in words:
        option = word.partition("=")[0]
        name = option.removeprefix("--").replace(".init_args.", ".")
        if option.startswith("--") and name in refused:
            raise ValueError(
                f"--{name} is of one run, and this command makes several: {refused[name]}."
            )
