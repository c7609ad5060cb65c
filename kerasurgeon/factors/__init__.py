"""Kernels as chains of smaller kernels: the ways to factorise them, their errors and costs, and the choice of ranks."""
