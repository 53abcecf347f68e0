"""Every op in plain words: what it does, and where its gradient goes. The docstring is exact.

The second voice of the pages: no symbols, and nothing that the formula says better.
"""

from __future__ import annotations

__all__ = ["PLAIN_WORDS"]

AS_IT_IS = "The gradient passes as it is."
DERIVATIVE = "Each number's gradient is multiplied by the derivative at that number. "
MOVED = "Numbers only change their places, so each gradient goes back to the place it came from."
CONSTANT = "A small change of the input changes nothing, so the gradient is zero."

PLAIN_WORDS: dict[str, tuple[str, str]] = {
    "abs": ("Makes every number positive.",
            "The gradient keeps its sign where the number was positive, and is turned around where "
            "it was negative."),
    "add": ("Adds two arrays, number by number.",
            "If one input grows by a little, so does the sum: both inputs get the gradient as it "
            "is. An input that was copied to fit gets the sum over its copies."),
    "binary_cross_entropy": (
        "How surprised a probability is by the answer yes or no: small if it was sure and right.",
        "A probability that was too small is pushed up, one that was too large is pushed down, "
        "hardest where it was sure and wrong."),
    "binary_cross_entropy_with_logits": (
        "The same surprise, computed from the number before the sigmoid, where nothing overflows.",
        "The gradient is simply the prediction minus the truth."),
    "cast": ("Stores the numbers in another precision.",
             "The gradient passes, in the precision of the input."),
    "cat": ("Puts arrays side by side into one.",
            "The gradient is cut at the seams, and each input gets its piece."),
    "clamp": ("Numbers below the lower bound become that bound, those above the upper one this.",
              "Within the bounds the gradient passes; outside, moving the input changes nothing, "
              "so it gets zero."),
    "clone": ("Copies an array.", AS_IT_IS),
    "conv1d": ("A small window of weights slides along the text and adds up what it sees.",
               "Each weight gets the sum over every place where it was used; each input number "
               "gets a share from every window that saw it."),
    "cos": ("The cosine of each number.", DERIVATIVE + "For the cosine that is minus the sine."),
    "crf_log_partition": (
        "Adds up the weights of all possible sequences of tags, without listing them.",
        "Every score gets the share of all sequences, by weight, that use it: its probability."),
    "cross_entropy": (
        "How surprised the model is by the right token: minus the logarithm of its probability.",
        "Prediction minus truth: the right token's score is pushed up by what its probability "
        "lacks, every other one down by its probability."),
    "cumprod": ("Multiplies along a row and keeps every product on the way.",
                "A number is a factor of its product and of all later ones, so it gets a share "
                "from each of them."),
    "cumsum": ("Adds along a row and keeps every sum on the way.",
               "A number is part of its sum and of all later ones: it gets the sum of their "
               "gradients."),
    "diagonal": ("Takes the diagonal of a matrix.",
                 "The diagonal gets the gradient, everything beside it zero."),
    "div": ("Divides, number by number.",
            "The numerator's gradient is divided by the denominator; the denominator gets one that "
            "pulls the other way, stronger where it is small."),
    "dropout": ("Sets a random share of the numbers to zero, and enlarges the others to make up "
                "for it.",
                "What was set to zero gets no gradient; the rest is enlarged by the same factor."),
    "einsum": ("Multiplies arrays whose axes have letters, and sums over the letters that the "
               "result lacks.",
               "Each input's gradient is again such a product: of the gradient and the other "
               "inputs."),
    "elu": ("Passes positive numbers; negative ones level off at a bound.",
            DERIVATIVE + "It is one for positive numbers and fades for negative ones."),
    "embedding": ("Looks up a row of a table for each token.",
                  "Only the rows that were looked up get a gradient; a row that was read twice "
                  "gets both."),
    "erf": ("A smooth step from minus one to one.",
            DERIVATIVE + "It is a bell: large near zero, almost nothing far away."),
    "exp": ("The exponential of each number.",
            DERIVATIVE + "It is the exponential itself: the output."),
    "expand": ("Repeats an array along an axis without copying it.",
               "The copies' gradients are added up."),
    "expm1": ("The exponential minus one, exact for tiny numbers.",
              DERIVATIVE + "That is the exponential itself."),
    "extreme": ("The largest (or smallest) number of each row.",
                "Only the number that won gets the gradient; equal winners share it."),
    "flip": ("Turns the order of an axis around.", MOVED),
    "gated_activation": (
        "One half of the channels decides, between closed and open, how much of the other half "
        "passes.",
        "Each half's gradient is multiplied by the other half: a closed gate lets no gradient "
        "through either."),
    "gated_delta_rule": (
        "A memory that forgets a little with each token, and writes only what it would have "
        "predicted wrongly.",
        "The memory is walked from the last token to the first; what a token wrote gets a gradient "
        "from every later token that read it."),
    "gather": ("Picks numbers at given positions.",
               "Each picked place gets its gradient; a place picked twice gets both."),
    "gelu": ("Lets large numbers pass, holds back negative ones, and is smooth in between.",
             DERIVATIVE + "It is near one for large numbers and near zero for very negative ones."),
    "grouped_mm": ("Rows sorted into groups, each group multiplied by its own matrix.",
                   "Each matrix learns from the rows of its group only; each row gets its gradient "
                   "through its group's matrix."),
    "index": ("Takes a part of an array.",
              "The part gets the gradient, the rest zero; what was taken twice gets both."),
    "index_put": ("Replaces a part of an array by other numbers.",
                  "What was replaced gets zero; the new numbers get the gradient at their "
                  "places."),
    "kl_div": ("How far the model's probabilities are from the target's.",
               "Each logarithm is pushed up in proportion to the target's probability."),
    "layer_norm": (
        "Shifts and scales each token's numbers to mean zero and spread one, then applies a "
        "learned scale and shift.",
        "Making all numbers of a token larger, or shifting them all, changes nothing: these two "
        "parts are taken out of the gradient."),
    "leaky_relu": ("Passes positive numbers, and a small share of negative ones.",
                   "The gradient passes for positive numbers, and its small share for negative "
                   "ones."),
    "linear": ("Each output is a weighted sum of the inputs, plus a bias.",
               "Each input gets back the gradients of the outputs, weighted by the same weights. A "
               "weight's gradient is its input times its output's gradient, added up over all "
               "tokens."),
    "linear_cross_entropy": (
        "The last layer and the loss together, so that the large table of scores never exists as "
        "a whole.",
        "Prediction minus truth, sent back through the last layer in the same step."),
    "linear_gelu_linear": (
        "A feed-forward layer in one piece: weighted sums, the smooth switch of GELU, and weighted "
        "sums again.",
        "The gradient goes back through the second sums, is scaled by the derivative of GELU at "
        "each number, and goes back through the first."),
    "log": ("The natural logarithm of each number.",
            DERIVATIVE + "It is large for numbers near zero."),
    "log10": ("The logarithm to base ten.",
              DERIVATIVE + "It is that of the natural logarithm, divided by a constant."),
    "log1p": ("The logarithm of one plus the number, exact for tiny numbers.",
              DERIVATIVE + "It is one near zero and falls slowly."),
    "log2": ("The logarithm to base two.",
             DERIVATIVE + "It is that of the natural logarithm, divided by a constant."),
    "log_softmax": (
        "Turns scores into logarithms of probabilities.",
        "Each score gets its gradient minus its probability's share of all gradients: raising one "
        "score lowers the others."),
    "logabsdet": ("The logarithm of how much a matrix enlarges volumes.",
                  "The matrix gets its own inverse, transposed, as the gradient."),
    "logsigmoid": ("The logarithm of a probability made by the sigmoid, without overflow.",
                   DERIVATIVE + "It is one for very negative numbers and zero for large ones."),
    "logsumexp": ("A smooth maximum: near the largest number of a row.",
                  "The gradient is shared by the softmax: the largest number gets most."),
    "masked_fill": ("Writes one value wherever a mask says so.",
                    "Where the value was written the input gets zero; elsewhere the gradient "
                    "passes."),
    "matmul": ("Multiplies two matrices.",
               "Each matrix gets the gradient multiplied by the other one, transposed, because "
               "that is what it was multiplied with."),
    "maximum": ("The larger of two numbers, pair by pair.",
                "The larger one gets the gradient; equal ones share it."),
    "mean": ("The average of a row.",
             "Every number gets the same share: the gradient divided by how many there are."),
    "minimum": ("The smaller of two numbers, pair by pair.",
                "The smaller one gets the gradient; equal ones share it."),
    "move": ("Copies an array to another device.", "The gradient is copied to where the input is."),
    "mse_loss": ("The squared distance between prediction and target.",
                 "Twice the distance: the further off, the stronger the pull towards the target."),
    "mul": ("Multiplies two arrays, number by number.",
            "Each factor's gradient is multiplied by the other factor."),
    "neg": ("Changes the sign.", "The gradient changes its sign too."),
    "nll_loss": ("Minus the logarithm of the right class's probability, already given as "
                 "logarithms.",
                 "Only the right class's place gets a gradient."),
    "norm": ("The length of a vector.",
             "The gradient points along the vector itself, with length one."),
    "pad": ("Puts constant numbers around an array.",
            "The padding's part of the gradient is cut off."),
    "permute": ("Reorders the axes of an array.", MOVED),
    "pow": ("Raises each number to a power.",
            DERIVATIVE + "For a square that is twice the number."),
    "prod": ("Multiplies a whole row.",
             "Each number gets the product of all the others times the gradient."),
    "read_view": ("Reads a part of an array that was changed in place.",
                  "The part gets the gradient, the rest zero."),
    "reciprocal": ("One divided by each number.",
                   DERIVATIVE + "It points downwards, and is steep near zero."),
    "relu": ("Negative numbers become zero, positive ones pass.",
             "The gradient passes where the number was positive, and is zero elsewhere."),
    "remainder": ("What is left after division by a whole number of times.",
                  "The dividend gets the gradient as it is; the divisor gets it times minus the "
                  "number of times."),
    "reshape": ("Reads the same numbers in another shape.", MOVED),
    "rms_norm": ("Scales each token's numbers to size one, then applies a learned scale.",
                 "Making all numbers of a token larger changes nothing: that part is taken out of "
                 "the gradient."),
    "roll": ("Moves numbers around in a circle along an axis.", MOVED),
    "rope": ("Turns pairs of channels by an angle that grows with the token's position.",
             "The gradient is turned back by the same angle."),
    "rsqrt": ("One divided by the square root.",
              DERIVATIVE + "It points downwards, and is steep near zero."),
    "scaled_dot_product_attention": (
        "Every token asks a question (query), compares it with what every earlier token offers "
        "(key), and takes the average of what they say (value), weighted by how well they fit.",
        "The values get the gradient by the same weights. A key that fits raises its own weight "
        "and lowers all others, so each score gets its gradient minus the weighted average of the "
        "row; queries and keys get it through each other."),
    "scatter_add": ("Adds numbers into given places of an array of zeros.",
                    "Each number gets the gradient of the place it was added to."),
    "scatter_reduce": ("Combines the numbers that are sent to the same place: product, largest or "
                       "smallest.",
                       "The numbers that decided the result share the gradient."),
    "selective_scan": (
        "A memory of a few numbers per channel; each token chooses how much is forgotten, written "
        "and read.",
        "The same walk from the last token to the first: what is remembered carries the gradient "
        "of all later tokens, less by what was forgotten in between."),
    "sigmoid": ("Squeezes each number between zero and one.",
                DERIVATIVE + "It is a quarter in the middle and almost nothing at both ends."),
    "silu": ("The number times its sigmoid: large ones pass, negative ones are held back.",
             DERIVATIVE + "It is near one for large numbers and near zero for very negative ones."),
    "sin": ("The sine of each number.", DERIVATIVE + "For the sine that is the cosine."),
    "softmax": ("Turns scores into shares that add up to one.",
                "Shares compete: each score gets its gradient minus the weighted average of the "
                "row, times its own share."),
    "softplus": ("A relu with a round corner.",
                 DERIVATIVE + "It goes smoothly from zero to one, as a sigmoid."),
    "solve": ("Solves a system of linear equations.",
              "Another system is solved, with the matrix transposed."),
    "split": ("Cuts an array into pieces.",
              "The pieces' gradients are put side by side again."),
    "sqrt": ("The square root of each number.", DERIVATIVE + "It is steep near zero."),
    "std": ("How far the numbers of a row spread around their mean.",
            "Numbers far from the mean get most, away from the mean on their side."),
    "step": ("Rounds, or takes the sign: a staircase.", CONSTANT),
    "sub": ("Subtracts the second array from the first.",
            "The first gets the gradient as it is, the second with the sign changed."),
    "sum": ("Adds up a row.", "Every number gets the same gradient: each was added once."),
    "tanh": ("Squeezes each number between minus one and one.",
             DERIVATIVE + "It is one in the middle and almost nothing at both ends."),
    "tril": ("Keeps the lower triangle of a matrix and sets the rest to zero.",
             "The triangle gets its gradient, the rest zero."),
    "triu": ("Keeps the upper triangle of a matrix and sets the rest to zero.",
             "The triangle gets its gradient, the rest zero."),
    "var": ("The average squared distance from the mean.",
            "Each number gets twice its distance from the mean, divided by how many there are."),
    "where": ("Takes each number from one of two arrays, as a condition says.",
              "Each array gets the gradient of the numbers that were taken from it."),
    "write_view": ("Writes new numbers into a part of an array, in place.",
                   "What was overwritten gets zero; the new numbers get the gradient at their "
                   "places."),
}  # fmt: skip
