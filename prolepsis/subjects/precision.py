"""How exactly a device multiplies: as the dtype says, whatever it was told before."""

import torch


def multiply_exactly() -> None:
    """From now on products of float32 are of float32, and those of float16 and bfloat16 are summed in float32.

    Holds for the whole process, which may have been told otherwise: NVIDIA's containers and ``"high"`` precision let a
    GPU round float32 to TF32, 10 bits, and torch lets it sum parts of a float16 product in float16. Then a measurement
    would not be of the dtype that is told beside it, and no bound on its rounding would hold.
    """
    torch.set_float32_matmul_precision("highest")
    matmul = torch.backends.cuda.matmul
    matmul.allow_fp16_reduced_precision_reduction = matmul.allow_bf16_reduced_precision_reduction = False
    # Unknown to torch before 2.7, which sums in float32 only.
    if hasattr(matmul, "allow_fp16_accumulation"):
        matmul.allow_fp16_accumulation = False
