"""``kerasurgeon morphnet``: train a network so that it chooses its own widths."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from kerasurgeon.cli import options
from kerasurgeon.cli.console import activity, show, show_json
from kerasurgeon.cli.errors import UsageError
from kerasurgeon.cli.files import KERAS_SUFFIXES, check_folder, check_input, check_side_files, claimed
from kerasurgeon.cli.groups import Loading, grouped
from kerasurgeon.cli.models import load_model
from kerasurgeon.cli.morphnet_state import begin, forget, unfinished
from kerasurgeon.cli.startup import start_keras
from kerasurgeon.report import format_count
from kerasurgeon.report.files import write_json
from kerasurgeon.report.page import save_report


class Algorithm(StrEnum):
    """What is regularised."""

    GROUP_LASSO = "group-lasso"
    GAMMA = "gamma"
    GATES = "gates"


class Target(StrEnum):
    """What there is to be less of."""

    MACS = "macs"
    SIZE = "size"
    ACTIVATION = "activation"
    LATENCY = "latency"


class Data(StrEnum):
    """What is trained on."""

    DIGITS = "digits"
    CIFAR10 = "cifar10"
    CIFAR100 = "cifar100"


class Optimizer(StrEnum):
    """What makes the steps."""

    ADAM = "adam"
    ADAMW = "adamw"
    RMSPROP = "rmsprop"
    SGD = "sgd"


class Precision(StrEnum):
    """What layers compute in."""

    FLOAT32 = "float32"
    MIXED_FLOAT16 = "mixed_float16"
    MIXED_BFLOAT16 = "mixed_bfloat16"


_MORPH = "How widths are learned"
_TRAINING = "Training"


@grouped
def morphnet(
    *,
    base_model: Annotated[
        str,
        typer.Option(
            "--base-model",
            "-m",
            metavar="NAME|FILE",
            help="A .keras or .h5 (.hdf5) file; a name of keras.applications (ResNet50); "
            "or 'digits', a small residual network.",
        ),
    ] = "digits",
    algorithm: Annotated[
        Algorithm,
        typer.Option(
            help="Kernels, scales of batch norms, or gates. gamma puts scales where a network has none.",
            rich_help_panel=_MORPH,
        ),
    ] = Algorithm.GAMMA,
    target_cost: Annotated[Target, typer.Option(help="What it is to cost less of.", rich_help_panel=_MORPH)] = (
        Target.MACS
    ),
    hardware: Annotated[str | None, options.option("For latency: V100, P100, T4, ...", panel=_MORPH)] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            help="Channels of this magnitude or less are dead.", rich_help_panel=_MORPH, show_default="0.01; gates: 0.5"
        ),
    ] = None,
    multiplier: Annotated[
        float,
        typer.Option(
            help="Strength of the regulariser, as a multiple of one over the whole cost; 0 only watches. "
            "With --kept where steering begins.",
            rich_help_panel=_MORPH,
        ),
    ] = 1.0,
    kept: Annotated[
        float | None,
        options.option(
            "Steer the strength so that this share of the cost is left, and cut to it, in (0, 1).", panel=_MORPH
        ),
    ] = None,
    unreachable: options.IfUnreachable = options.Unreachable.REFUSE,
    l1_fraction: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=1.0,
            help="For group-lasso: share of the mean beside the root mean square.",
            rich_help_panel=_MORPH,
        ),
    ] = 0.0,
    ignore: Annotated[
        list[str] | None,
        options.option("Leave the channels of these layers alone. May be repeated.", metavar="PATTERN", panel=_MORPH),
    ] = None,
    floors: Annotated[
        list[str] | None,
        options.option(
            "Fewest channels of a layer that stay alive, of all or of those that a pattern names. May be repeated.",
            metavar="[PATTERN=]N",
            panel=_MORPH,
        ),
    ] = None,
    data: Annotated[Data, typer.Option(help="What it is trained on.", rich_help_panel=_TRAINING)] = Data.DIGITS,
    records: Annotated[
        Path | None,
        options.option(
            "Train on arrays of your own instead: train_images, train_labels, test_images, test_labels.",
            metavar="FILE.npz",
            panel=_TRAINING,
        ),
    ] = None,
    tfds: Annotated[
        str | None,
        options.option(
            "Train on this set of TensorFlow Datasets instead, which has parts train and test.",
            metavar="NAME",
            panel=_TRAINING,
        ),
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs with the regulariser.", rich_help_panel=_TRAINING)] = 20,
    tuning_epochs: Annotated[
        int, typer.Option(min=0, help="Epochs of the cut network after that.", rich_help_panel=_TRAINING)
    ] = 0,
    batch_size: Annotated[int, typer.Option(min=1, rich_help_panel=_TRAINING, help="Images a step.")] = 64,
    optimizer: Annotated[Optimizer, typer.Option(rich_help_panel=_TRAINING, help="What makes the steps.")] = (
        Optimizer.ADAM
    ),
    learning_rate: Annotated[float, typer.Option(min=0.0, rich_help_panel=_TRAINING, help="The optimizer's.")] = 3e-3,
    precision: Annotated[
        Precision, typer.Option(rich_help_panel=_TRAINING, help="What layers compute in; weights are float32.")
    ] = Precision.FLOAT32,
    devices: Annotated[
        int,
        typer.Option(min=1, rich_help_panel=_TRAINING, help="Train on so many GPUs, or logical devices, at once."),
    ] = 1,
    seed: Annotated[
        int, typer.Option(min=0, max=2**32 - 1, help="All random choices follow from it.", rich_help_panel=_TRAINING)
    ] = 0,
    log_dir: Annotated[
        Path,
        typer.Option(
            "--log-dir", "-o", metavar="DIR", help="Where structures, TensorBoard events and models go: new or empty."
        ),
    ] = Path("morphnet-run"),
    resume: Annotated[
        bool, typer.Option(help="Go on with a run of these options in --log-dir that was interrupted or killed.")
    ] = True,
    report: options.ReportFile = None,
    overwrite: options.Overwrite = False,
    loading: Loading,
    json: options.Json = False,
) -> None:
    """Train a network with a regulariser under which channels that cost much and matter little die, and cut those off.

    In the folder afterwards: learned_structure/ with what was alive after each epoch, morphnet.keras as it was trained,
    small.keras cut, plan.json (for ApplyPlan, MorphNetShrink), results.json, histories/ (for kerasurgeon plot), and
    event files for TensorBoard. A run that was interrupted or killed goes on behind its last epoch: give the same
    command again.
    """
    if hardware is not None and target_cost != Target.LATENCY:
        raise UsageError("--hardware is for --target-cost latency.", got=f"--target-cost {target_cost}")
    if kept is not None and not 0 < kept < 1:
        raise UsageError("--kept cannot be used.", expected="a share in (0, 1)", got=str(kept))
    if records is not None and tfds is not None:
        raise UsageError("--records and --tfds both say what is trained on.", hint="leave one out")
    hint = "choose another one with --log-dir, or add --overwrite"
    check_side_files([(report, (".html", ".json"))], overwrite=overwrite, read=[Path(base_model), records])
    goes_on = resume and not overwrite and unfinished(log_dir)
    check_folder(log_dir, overwrite=overwrite or goes_on, hint=hint)
    if Path(base_model).suffix.lower() in KERAS_SUFFIXES:
        check_input(Path(base_model), KERAS_SUFFIXES, "model file")
    with activity() as now:
        start_keras(now)
        import keras

        from kerasurgeon.cli.morphnet_page import page_of
        from kerasurgeon.cli.morphnet_run import Run, data_set, network

        keras.utils.set_random_seed(seed)
        keras.config.set_dtype_policy(str(precision))
        now.phase("reading the data")
        images = data_set(str(data), records, tfds, seed)

        def load(path: Path) -> Any:
            return load_model(path, now, loading)

        model = network(base_model, images, load)
        run = Run(
            images,
            log_dir,
            epochs=epochs,
            tuning_epochs=tuning_epochs,
            batch_size=batch_size,
            optimizer=str(optimizer),
            rate=learning_rate,
            devices=devices,
            kept=kept,
            unreachable=str(unreachable),
            tell=now.tell,
            phase=now.phase,
            overwrite=overwrite or goes_on,
        )
        settings: dict[str, Any] = {
            "target": str(target_cost),
            "hardware": hardware,
            "threshold": threshold,
            "strength": multiplier,
            "l1_fraction": l1_fraction,
            "ignore": tuple(ignore or ()),
            "floors": _floors(floors or ()),
        }
        given = {"base_model": base_model, "data": str(records or tfds or data), "seed": seed, "folder": str(log_dir)}
        told = {
            **{key.replace("_", "-"): given[key] for key in ("base_model", "data", "seed")},
            **{key.replace("_", "-"): value for key, value in settings.items() if key != "strength"},
            "ignore": list(ignore or ()), "multiplier": multiplier, "algorithm": str(algorithm), "kept": kept,
            "epochs": epochs, "batch-size": batch_size, "optimizer": str(optimizer), "learning-rate": learning_rate,
            "precision": str(precision), "devices": devices,
        }  # fmt: skip
        with claimed(log_dir, overwrite=overwrite or goes_on, hint=hint):
            if overwrite:
                forget(log_dir)
            begin(log_dir, told)
            result = _carried_out(run, model, str(algorithm).replace("-", "_"), settings, log_dir) | given
            write_json(log_dir / "results.json", result, overwrite=overwrite)
            forget(log_dir)
        if report is not None:
            now.phase(f"writing {report.name}")
            save_report(
                report,
                page=lambda: page_of(log_dir, result, run.models),
                data=lambda: result,
                text=lambda: "\n".join(_lines(result, log_dir)),
                overwrite=overwrite,
            )
    if json:
        show_json(result)
    else:
        show(*_lines(result, log_dir))


def _carried_out(run: Any, model: Any, algorithm: str, settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    try:
        return run.carry_out(model, algorithm, settings)  # type: ignore[no-any-return]
    except KeyboardInterrupt:
        goes_on = "To go on behind the last epoch: the same command, without --overwrite." if unfinished(folder) else ""
        typer.echo(f"\nInterrupted. {goes_on}".rstrip(), err=True)
        raise typer.Exit(130) from None


def _floors(given: Sequence[str]) -> int | dict[str, int] | None:
    """Numbers by pattern, as ``MorphNet`` takes them."""
    found: dict[str, int] = {}
    for text in given:
        pattern, _, number = text.rpartition("=")
        if not number.isdecimal():
            raise UsageError("--floors cannot be used.", expected="N or PATTERN=N, a whole number", got=text)
        found[pattern or "*"] = int(number)
    return found or None


def _lines(result: dict[str, Any], folder: Path) -> list[str]:
    unit = result["unit"]
    lines = [
        f"trained: accuracy {result['accuracy']:.1%} on {result['test_images']} test images, "
        f"{format_count(result['initial_cost'])} {unit}",
        f"small:   accuracy {result['small_accuracy']:.1%}, {format_count(result['small_cost'])} {unit} "
        f"({result['small_cost'] / result['initial_cost']:.1%}), {result['small_parameters']:,} parameters",
    ]
    lines += [result["warning"]] if result["warning"] else []
    if "cannot be reached" in result["note"]:
        lines.append(result["note"])
    if result["vanished"]:
        lines.append(f"gone altogether: {', '.join(result['vanished'])}")
    lines.append(f"structures, plan and models are in {folder}")
    lines.append(f"  tensorboard --logdir {folder}")
    return lines
