"""Where tests find the repository and what lies beside it; loads nothing, so that processes of tests may ask too."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
WEIGHTS = SHARED / "weights" / "resnet50_msra_imagenet1k_layer3.safetensors"
