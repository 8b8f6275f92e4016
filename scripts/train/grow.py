"""Give a checkpoint more encoder layers, without changing what it says.

usage: grow.py CHECKPOINT OUTPUT LAYERS

The new layers stand evenly among the old ones.  Each begins as a copy of the one before it whose four branches give nothing,
so it passes on what it gets: the one before loses the gain and bias of its last norm to it, and a norm of what is normed
already changes nothing.  The optimiser begins anew.
"""
import sys

import torch

from model import Config, Recogniser
from train import Optimiser, save

SILENT = ("feed_forward1.linear2.", "self_attn.linear_out.", "conv.pointwise_conv2.", "feed_forward2.linear2.")


def places(old, new):
    """For each new layer the old one that it stands for, and whether it is that one's copy."""
    added = new - old
    after = {(2 * i + 1) * old // (2 * added) for i in range(added)}
    return [(layer, copy) for layer in range(old) for copy in ((False, True) if layer in after else (False,))]


def grown(state, plan):
    result = {name: value for name, value in state.items() if not name.startswith("encoder.layers.")}
    for index, (layer, copy) in enumerate(plan):
        prefix = "encoder.layers.%d." % layer
        follows = index + 1 < len(plan) and plan[index + 1] == (layer, True)
        for name, value in state.items():
            if not name.startswith(prefix):
                continue
            part, value = name.removeprefix(prefix), value.clone()
            if copy and part.startswith(SILENT):
                value.zero_()
            if follows and part == "norm_out.weight":
                value.fill_(1)
            if follows and part == "norm_out.bias":
                value.zero_()
            result["encoder.layers.%d.%s" % (index, part)] = value
    return result


def said(config, weights):
    """What the encoder makes of some noise, and the layer in the middle, to which two heads belong."""
    model = Recogniser(Config(**config)).eval()
    model.load_state_dict(weights, strict=False)
    noise = torch.randn(2, 400, model.config.mels, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        encoded, _, (middle,) = model(noise, torch.tensor([400, 300]), (model.config.layers // 2 - 1,))
    return torch.stack((encoded, middle))


def main():
    source, output, layers = sys.argv[1], sys.argv[2], int(sys.argv[3])
    state = torch.load(source, map_location="cpu", weights_only=False)
    old = state["config"]
    config = dict(old, layers=layers)
    plan = places(old["layers"], layers)
    if len(plan) != layers:
        sys.exit("grow.py: %d layers cannot become %d; at most one goes behind each" % (old["layers"], layers))
    before = said(old, state["average"])
    for kind in ("model", "average"):
        state[kind] = grown(state[kind], plan)
    apart = (said(config, state["average"]) - before).abs().max()
    if not apart < 1e-3:
        sys.exit("grow.py: with %d layers it says something else (by %g)" % (layers, apart))
    model = Recogniser(Config(**config))
    state.update(config=config, optimiser=Optimiser(model).state_dict())
    save(output, **state)
    print("%s: %s" % (output, ", ".join("%d%s" % (layer, "'" if copy else "") for layer, copy in plan)))


if __name__ == "__main__":
    main()
