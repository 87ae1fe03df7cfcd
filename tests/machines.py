"""Machines that doctor could be asked on."""

from dataclasses import replace

from prolepsis.doctor.machine import Machine
from prolepsis.doctor.work import Rates

GIB = 2**30
CPU = Machine(
    "cpu", "a CPU", None, "2", ("float32",), 16 * GIB, 12 * GIB, 16 * GIB, 12 * GIB, Rates(1e11, 1e11, 1e10, 1e5)
)
GPU = replace(CPU, device="cuda", name="a GPU", total_bytes=16 * GIB, free_bytes=15 * GIB)
