"""The shunt procedure as a whole: ten steps, a recipe, a folder, and going on after an interruption."""

from kerasurgeon.procedure.folder import RunFolder
from kerasurgeon.procedure.keys import STEPS
from kerasurgeon.procedure.procedure import Procedure, ProcedureResult
from kerasurgeon.procedure.recipe import ProcedureRecipe, read_procedure
from kerasurgeon.procedure.run import Run

__all__ = ["STEPS", "Procedure", "ProcedureRecipe", "ProcedureResult", "Run", "RunFolder", "read_procedure"]
