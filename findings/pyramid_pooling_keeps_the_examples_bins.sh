#!/usr/bin/env bash
# torch 2.14.1, onnxruntime 1.32.0. Guess: adaptive_avg_pool2d(x, 6), the pyramid pooling of PSPNet and many heads after it,
# is exported with free height and width, or refused. Seen: it is exported without a word, with the window of the example
# image: 50x70 features give 5x7 bins in ONNX Runtime, 6x6 in PyTorch. Bins that are joined to the features by an
# interpolation to their size hide it: the result has the right shape and other numbers.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 onnx==1.23.2 onnxscript==0.7.2 onnxruntime==1.32.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import torch
import torch.nn.functional as F
from onnxruntime import InferenceSession

FREE = torch.export.Dim.DYNAMIC


class Bins(torch.nn.Module):
    def forward(self, x):
        return F.adaptive_avg_pool2d(x, 6)


class Pyramid(torch.nn.Module):
    def forward(self, x):
        return x + F.interpolate(F.adaptive_avg_pool2d(x, 6), x.shape[2:], mode="bilinear")


example, other = torch.rand(1, 3, 60, 60), torch.rand(1, 3, 50, 70)
seen = {}
for module in (Bins().eval(), Pyramid().eval()):
    program = torch.onnx.export(
        module, (example,), dynamo=True, input_names=["x"], dynamic_shapes={"x": {2: FREE, 3: FREE}}, verbose=False
    )
    session = InferenceSession(program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"])
    for x in (example, other):
        (graph,), plain = session.run(None, {"x": x.numpy()}), module(x).numpy()
        difference = abs(graph - plain).max() if graph.shape == plain.shape else None
        seen[type(module).__name__, x.shape[3]] = graph.shape, plain.shape, difference
        print(f"{type(module).__name__} of {tuple(x.shape)}: ONNX Runtime {graph.shape}, PyTorch {plain.shape}; {difference}")
assert seen["Bins", 60][2] < 1e-5
assert seen["Bins", 70][:2] == ((1, 3, 5, 7), (1, 3, 6, 6)), "the bins have changed"
assert seen["Pyramid", 60][2] < 1e-5
assert seen["Pyramid", 70][0] == seen["Pyramid", 70][1]
assert seen["Pyramid", 70][2] > 1e-2, "the numbers are the same now"
PYTHON
