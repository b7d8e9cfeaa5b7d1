#!/usr/bin/env bash
# torch 2.14.1, onnxruntime 1.32.0. Guess: the mean over a region that holds no pixel, as in masked average pooling of a
# class that an image lacks, is NaN in an exported graph too, so that isnan finds it. Seen: PyTorch gives NaN, ONNX
# Runtime 0, which looks like a feature.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 onnx==1.23.2 onnxscript==0.7.2 onnxruntime==1.32.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import torch
from onnxruntime import InferenceSession


class RegionMean(torch.nn.Module):
    def forward(self, features, region):
        return features[region].mean()


features, region = torch.rand(8, 8), torch.zeros(8, 8, dtype=torch.bool)
some = region.clone()
some[2:4] = True
program = torch.onnx.export(
    RegionMean().eval(), (features, some), dynamo=True, input_names=["features", "region"], verbose=False
)
session = InferenceSession(program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"])
seen = {}
for name, mask in (("16 pixels", some), ("no pixel", region)):
    (graph,) = session.run(None, {"features": features.numpy(), "region": mask.numpy()})
    seen[name] = float(RegionMean()(features, mask)), float(graph)
    print(f"{name}: PyTorch {seen[name][0]:.4f}, ONNX Runtime {seen[name][1]:.4f}")
assert abs(seen["16 pixels"][0] - seen["16 pixels"][1]) < 1e-6
assert seen["no pixel"][0] != seen["no pixel"][0]
assert seen["no pixel"][1] == 0, "the mean of nothing has changed"
PYTHON
