"""The shunt procedure as a whole: ten steps, a recipe, a folder, and going on after an interruption."""

from kerasurgeon.workflows.procedure.folder import RunFolder
from kerasurgeon.workflows.procedure.keys import STEPS
from kerasurgeon.workflows.procedure.procedure import Procedure, ProcedureResult
from kerasurgeon.workflows.procedure.recipe import ProcedureRecipe, read_procedure
from kerasurgeon.workflows.procedure.run import Run

__all__ = ["STEPS", "Procedure", "ProcedureRecipe", "ProcedureResult", "Run", "RunFolder", "read_procedure"]
