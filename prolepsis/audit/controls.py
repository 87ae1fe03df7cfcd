"""Which controls a claim's argument needs and the paper does not report, and what each of them is for.

What a claim needs is in its ledger row: the controls with their roles. ``reported`` says where the paper reports one.
"""

from prolepsis.ledger import Claim, Control

PURPOSES = {
    "null": "the effect has to exceed it",
    "rival": "must not do as well, or the claimed route is not the only one",
    "positive": "has to succeed, or nothing could have been seen",
    "sham": "has to equal the clean run, or the instrument moves by itself",
    "guard": "has to stay within its bound, or the effect is damage",
}


def missing_controls(claim: Claim) -> tuple[Control, ...]:
    """The controls of a published claim that the paper does not report, in the ledger's order.

    Empty for questions the paper did not ask and for statements about the paper itself.
    """
    if claim.variant != "published":
        return ()
    return tuple(control for control in claim.controls if not control.reported)


def purpose(claim: Claim, control: Control) -> str:
    """What ``control`` is for, in one phrase: "the effect has to exceed it"; a null of an absence lacks its cause."""
    if control.role == "null" and claim.kind == "absence":
        return "what is absent has to appear there"
    return PURPOSES[control.role]
