"""Optimizers and collectives in plain words; their docstrings are exact. See plain_words.py."""

from __future__ import annotations

__all__ = ["COLLECTIVE_WORDS", "OPTIMIZER_WORDS", "SCHEDULE_WORDS"]

OPTIMIZER_WORDS = {
    "SGD": "Every parameter moves against its gradient, by the learning rate. With momentum it "
    "keeps rolling: a step is an average of the last gradients.",
    "Adafactor": "As Adam, but of each matrix it remembers one number per row and one per column "
    "in place of one per element, so that its memory is tiny.",
    "Adagrad": "A parameter that has had large gradients takes smaller steps from then on.",
    "Adam": "Every parameter has its separate step: the average gradient divided by its usual "
    "size. So all parameters move about as fast, at any scale of their gradients.",
    "AdamW": "First every weight shrinks a little, at the same rate for all; then Adam's step.",
    "AdamWScheduleFree": "Adam's steps are taken at one point, and the average of all points so "
    "far is the result; no schedule has to know when the training ends.",
    "Lion": "Only the sign of an average gradient counts: every number moves by the same amount, "
    "up or down.",
    "Muon": "The average gradient of a matrix is turned into a step that is equally long in all "
    "directions, so that rare directions are learned as fast as frequent ones.",
    "MuonWithAdamW": "Matrices inside the model take Muon's steps, everything else AdamW's.",
    "RMSprop": "Each gradient is divided by its usual size over the last steps.",
    "SGDScheduleFree": "Plain steps at one point, and the average of all points so far is the "
    "result; no schedule has to know when the training ends.",
}
SCHEDULE_WORDS = {
    "ChainedScheduler": "Several schedules act together: the rate is multiplied by the factors of "
    "all of them.",
    "ConstantLR": "The rate is reduced at the beginning and then jumps to its full size.",
    "CosineAnnealingLR": "The rate falls like a hill: slowly at first, fastest in the middle, and "
    "slowly again near its lowest value.",
    "CosineAnnealingWarmRestarts": "The rate falls along a cosine, jumps back to the top and falls "
    "again, each time more slowly if you wish.",
    "ExponentialLR": "Every step multiplies the rate by the same factor.",
    "LambdaLR": "A function of yours says which part of the initial rate each step has.",
    "LinearLR": "The rate moves along a straight line from one part of the initial rate to another "
    "and stays there.",
    "MultiStepLR": "The rate is cut at the steps that you name and constant between them.",
    "MultiplicativeLR": "A function of yours says by which factor the rate changes at each step.",
    "OneCycleLR": "The rate rises once and falls once; the momentum does the opposite, so that "
    "large steps are not made larger by it.",
    "PolynomialLR": "The rate falls to zero along a power of the steps that are left.",
    "ReduceLROnPlateau": "The rate is reduced when the loss has stopped becoming smaller: the only "
    "schedule here that looks at the loss.",
    "SWALR": "The rate goes to a constant one, with which the points that are averaged keep "
    "moving around the floor of the valley.",
    "SequentialLR": "One schedule runs until a step that you name, then the next one takes over.",
    "StepLR": "The rate is cut by the same factor after every so many steps.",
    "WarmupCosineLR": "The rate rises in small steps while the averages of the optimizer are still "
    "poor, then falls along a cosine.",
    "WarmupInverseSqrtLR": "The rate rises along a line and then falls as one over the root of the "
    "steps, without knowing when the training ends.",
    "WarmupStableDecayLR": "The rate rises, stays where it is for most of the training, and falls "
    "in a short last part.",
}
COLLECTIVE_WORDS = {
    "all_reduce": (
        "Every rank brings an array, and every rank gets the sum of all.",
        "Each array was in everybody's sum, so it gets the sum of everybody's gradients.",
    ),
    "all_gather": (
        "Every rank brings a piece, and every rank gets all pieces, joined.",
        "A piece gets the sum of the gradients that all ranks have for it.",
    ),
    "reduce_scatter": (
        "The arrays of all ranks are added up, and every rank keeps one part of the sum.",
        "The gradients of all parts are joined again, on every rank.",
    ),
    "broadcast": (
        "One rank's array is copied to all.",
        "That rank gets the sum of all gradients, the others zero.",
    ),
    "all_to_all_single": (
        "Every rank cuts its array into pieces and sends one to each rank.",
        "The gradients of the pieces are sent back to where the pieces came from.",
    ),
    "copy_to_ranks": (
        "All ranks have the same array and each computes another part with it.",
        "Each rank knows the gradient through its part only, so these are added up.",
    ),
    "sum_over_ranks": (
        "The parts that the ranks computed are added up, and all continue with the sum.",
        "All ranks have the same gradient already; each keeps it as it is.",
    ),
    "gather_along": (
        "The parts that the ranks computed are joined, and all continue with the whole.",
        "Each rank keeps its part of the gradient.",
    ),
    "own_part_of": (
        "Each rank takes its part of an array that all have.",
        "The parts' gradients are joined again, on every rank.",
    ),
    "ring_attention": (
        "Keys and values travel around the ring of ranks, so that every query meets every key and "
        "no rank has to hold them all.",
        "They travel once more, each with its gradient, to which every rank adds its share.",
    ),
}
