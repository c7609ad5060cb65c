"""``kerasurgeon tucker``: the hybrid Tucker split, by accuracy or to a size."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kerasurgeon.cli import options
from kerasurgeon.cli.carrying_out import carry_out
from kerasurgeon.cli.errors import UsageError, usage
from kerasurgeon.cli.files import KERAS_SUFFIXES, check_input, check_side_files, read_data
from kerasurgeon.cli.groups import Formats, Loading, Records, grouped
from kerasurgeon.cli.sizes import sizes_of
from kerasurgeon.cli.writing import plan

if TYPE_CHECKING:
    from kerasurgeon.rewrite.pipeline import Pipeline, Result


class Method(StrEnum):
    """What decides how far it goes."""

    FIXED_LOSS = "fixed-loss"
    FIXED_PARAMS = "fixed-params"


class Kind(StrEnum):
    """What layers become."""

    HYBRID = "hybrid"
    TUCKER = "tucker"


class PruningStructure(StrEnum):
    """Which entries of a residual are kept together."""

    UNSTRUCTURED = "unstructured"
    CHANNEL = "channel"
    FILTER = "filter"
    BLOCK = "block"


class Error(StrEnum):
    """Which error factors make small."""

    AUTO = "auto"
    KERNEL = "kernel"
    OUTPUT = "output"
    GENERATED = "generated"


_CHOICE = "How far it goes"
_RESIDUAL = "The sparse convolution beside the factors"


@grouped
def tucker(
    *,
    model: options.Model,
    output: options.Outputs,
    method: Annotated[
        Method,
        typer.Option(
            help="fixed-params: to a share of the parameters, without data. fixed-loss: as far as the accuracy allows.",
            rich_help_panel=_CHOICE,
        ),
    ] = Method.FIXED_PARAMS,
    compression_factor: Annotated[
        float | None,
        typer.Option(
            help="For fixed-params: the share of the split layers' parameters to keep, in (0, 1].",
            rich_help_panel=_CHOICE,
            show_default="0.5",
        ),
    ] = None,
    max_acc_loss: Annotated[
        float | None,
        typer.Option(
            help="For fixed-loss: how much accuracy may be lost on --data and --labels.",
            rich_help_panel=_CHOICE,
            show_default="0.02",
        ),
    ] = None,
    unreachable: options.IfUnreachable = options.Unreachable.REFUSE,
    compression_type: Annotated[
        Kind,
        typer.Option(
            help="tucker: factors alone; hybrid: with a sparse convolution beside them where that is best. "
            "It is stored dense: only runtimes that skip zeros gain from it."
        ),
    ] = Kind.TUCKER,
    pruning_structure: Annotated[
        PruningStructure, typer.Option(help="Which entries are kept together.", rich_help_panel=_RESIDUAL)
    ] = PruningStructure.UNSTRUCTURED,
    block_size: Annotated[
        str | None,
        options.option("For block: its size in input and output channels.", metavar="IN,OUT", panel=_RESIDUAL),
    ] = None,
    sparsity_weight: Annotated[
        float, typer.Option(help="How many dense parameters one kept entry counts as.", rich_help_panel=_RESIDUAL)
    ] = 4.0,
    all_layers: Annotated[
        bool, typer.Option("--all-layers", help="Split 1x1 convolutions and Dense layers too, by SVD.")
    ] = False,
    where: Annotated[
        list[str] | None,
        options.option("Only layers of these names; with ! before it: not these. May be repeated.", metavar="PATTERN"),
    ] = None,
    round_to: Annotated[int, typer.Option(min=1, help="Make ranks multiples of this.")] = 1,
    minimise: Annotated[
        Error,
        typer.Option(
            help="Of kernels, of layers' outputs on --data or on generated inputs; "
            "auto: the best that there is data, batch norms and time for."
        ),
    ] = Error.AUTO,
    generate_seconds: Annotated[
        float, typer.Option(min=0.0, help="The time that generating inputs may take.", metavar="SECONDS")
    ] = 120.0,
    sizes: options.Sizes = None,
    data: options.Data = None,
    labels: options.Labels = None,
    search_log: Annotated[
        Path | None,
        options.option(
            "For fixed-loss: keep the search here, and go on from it when it is run again.", metavar="FILE.json"
        ),
    ] = None,
    save_factors: Annotated[
        Path | None,
        options.option(
            "Also keep the factors: --pass ApplyFactors puts them into the same model again.", metavar="FILE.npz"
        ),
    ] = None,
    seed: options.Seed = 0,
    records: Records,
    overwrite: options.Overwrite = False,
    loading: Loading,
    json: options.Json = False,
) -> None:
    """Split convolutions into 1x1, k x k, 1x1 of lower rank; with --compression-type hybrid, a sparse one beside them.

    Ranks and sparsities of all layers are chosen together: for a number of parameters, or by the accuracy that may be
    lost on labelled data.
    """
    check_input(model, KERAS_SUFFIXES, "model file")
    files = [
        *records.files(),
        (save_factors, (".npz",)),
        (save_factors and save_factors.with_suffix(".json"), (".json",)),  # a plan of factors is two files
    ]
    others = check_side_files(files, overwrite=overwrite, read=[model])
    settings = _settings(method, compression_factor, max_acc_loss)
    settings |= {
        "method": "auto" if all_layers else "tucker",
        "cost": "params",
        "sparsity": "auto" if compression_type == Kind.HYBRID else 0.0,
        "structure": str(pruning_structure),
        "block_size": _block(block_size),
        "sparsity_weight": sparsity_weight,
        "where": tuple(where or ()),
        "round_to": round_to,
        "minimise": str(minimise),
        "generate_seconds": generate_seconds,
        "unreachable": str(unreachable),
        "search_log": None if search_log is None else str(search_log),
    }
    if method == Method.FIXED_LOSS and (data is None or labels is None):
        raise UsageError("fixed-loss needs labelled data.", hint="add --data FILE and --labels FILE")
    writing = plan(output, Formats(), others=others, overwrite=overwrite, seed=seed)
    arrays = read_data(data, labels)
    shapes = sizes_of(sizes)

    def make_pipeline() -> Pipeline:
        from kerasurgeon.passes import Factorise
        from kerasurgeon.rewrite.pipeline import Pipeline

        with usage():
            chosen = Factorise(**settings)
        return Pipeline([chosen])

    def keep(result: Result) -> list[Any]:
        from kerasurgeon.factors import FactorPlan

        (report,) = result.report.passes
        plans = [item for item in report.plans if isinstance(item, FactorPlan)]
        if save_factors is not None:
            for found in plans or [FactorPlan(model=report.name)]:
                found.save(save_factors, overwrite=overwrite)
        # What was reached for the whole model, then the factors layer by layer.
        return [*(site.what for site in report.changed if site.node == result.graph.name), *plans]

    carry_out(
        model,
        make_pipeline,
        writing,
        data=arrays,
        records=records,
        loading=loading,
        json=json,
        sizes=shapes,
        afterwards=keep,
    )


def _settings(method: Method, compression_factor: float | None, max_acc_loss: float | None) -> dict[str, Any]:
    """The option that says how far it goes, and no other."""
    by_loss = method == Method.FIXED_LOSS
    unused = compression_factor if by_loss else max_acc_loss
    if unused is not None:
        option = "--compression-factor" if by_loss else "--max-acc-loss"
        raise UsageError(f"{option} does not go with --method {method}.", hint="choose one of the two ways")
    if by_loss:
        return {"max_accuracy_loss": 0.02 if max_acc_loss is None else max_acc_loss}
    return {"compression_factor": 0.5 if compression_factor is None else compression_factor}


def _block(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    parts = text.replace("x", ",").split(",")
    if len(parts) != 2 or not all(part.strip().isdigit() for part in parts):
        raise UsageError("--block-size cannot be read.", expected="two whole numbers, as 8,8", got=text)
    return int(parts[0]), int(parts[1])
