"""Blocks: regions of a network, and what can take their place.

* ``find_region`` and ``find_regions`` find regions as people name them, ``cut_pairs`` what lies between two layers;
  ``outermost`` and ``without_overlap`` look at several. ``region_option``, ``architectures`` and ``cuts_option`` check
  options that name them.
* A region is replaced by a network: ``build_shunt``, ``translator`` (both for the ``geometry`` of a region),
  ``drop_steps`` (linear maps that make up for what is left out), ``block_for`` (blocks to insert). ``fit_steps`` fits
  networks to what the regions made.
* A ``BlockStep`` says which network goes where, a ``BlockPlan`` holds several, as data that can be saved;
  ``put_all`` carries steps out, ``free_names`` finds names for the networks.
* ``knowledge_quotients`` measures what regions are worth (``Quotients``), ``choose_regions`` chooses by it.
"""

from kerasurgeon.blocks.bridges import ARCHITECTURES, build_shunt, check_architecture
from kerasurgeon.blocks.choose import choose_regions
from kerasurgeon.blocks.compensation import CORRECTIONS, drop_steps
from kerasurgeon.blocks.cuts import CutPair, between, cut_pairs
from kerasurgeon.blocks.fitted import fit_steps
from kerasurgeon.blocks.geometry import Geometry, data_format_of, geometry
from kerasurgeon.blocks.inserting import block_for, block_name, insert_places
from kerasurgeon.blocks.inserts import INSERTS, passes_through
from kerasurgeon.blocks.measuring import knowledge_quotients
from kerasurgeon.blocks.options import architecture_of, architectures, cuts_option, region_option
from kerasurgeon.blocks.places import find_region, find_regions, outermost, without_overlap
from kerasurgeon.blocks.plan import BlockPlan, BlockStep
from kerasurgeon.blocks.put import free_names, put_all
from kerasurgeon.blocks.quotient import Quotient
from kerasurgeon.blocks.quotients import Quotients
from kerasurgeon.blocks.replace import carry_out
from kerasurgeon.blocks.translator import translator

__all__ = [
    "ARCHITECTURES",
    "CORRECTIONS",
    "INSERTS",
    "BlockPlan",
    "BlockStep",
    "CutPair",
    "Geometry",
    "Quotient",
    "Quotients",
    "architecture_of",
    "architectures",
    "between",
    "block_for",
    "block_name",
    "build_shunt",
    "carry_out",
    "check_architecture",
    "choose_regions",
    "cut_pairs",
    "cuts_option",
    "data_format_of",
    "drop_steps",
    "find_region",
    "find_regions",
    "fit_steps",
    "free_names",
    "geometry",
    "insert_places",
    "knowledge_quotients",
    "outermost",
    "passes_through",
    "put_all",
    "region_option",
    "translator",
    "without_overlap",
]
