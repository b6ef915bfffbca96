"""The frozen ResNet against torchvision's, transformers' and a slow one written from Flax's rules."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from hiltk.agents.pretrained import load_trunk
from hiltk.agents.resnet import FrozenResNet
from hiltk.config.groups import TrunkConf
from hiltk.errors import ConfigError, UserError
from tests.agents.resnets import group_norm_weights, resnet10_folder

MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
RESNET10 = TrunkConf(norm="group", widths=[64, 128, 256, 512], depths=[1, 1, 1, 1])


def frames(height: int = 64, width: int = 48, batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (batch, 3, height, width), dtype=torch.uint8, generator=generator)


def normalised(images: Tensor) -> Tensor:
    return (images / 255.0 - MEAN[:, None, None]) / STD[:, None, None]


# ---------------------------------------------------------------- against others


def flax_resnet10(weights: dict[str, Tensor], x: Tensor) -> Tensor:
    """HIL-SERL's network, literally: paddings as Flax computes them, group normalisation written out."""

    def same(x: Tensor, kernel: int, stride: int, value: float) -> Tensor:
        sides = []
        for size in (x.shape[3], x.shape[2]):
            total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
            sides += [total // 2, total - total // 2]
        return F.pad(x, sides, value=value)

    def norm(x: Tensor, name: str) -> Tensor:
        groups = x.reshape(len(x), 4, -1)
        mean, var = groups.mean(-1, keepdim=True), groups.var(-1, unbiased=False, keepdim=True)
        x = ((groups - mean) / (var + 1e-5).sqrt()).reshape(x.shape)
        scale, bias = weights[f"{name}.group_norm.weight"], weights[f"{name}.group_norm.bias"]
        return x * scale[:, None, None] + bias[:, None, None]

    def conv(x: Tensor, name: str, stride: int = 1) -> Tensor:
        kernel = weights[f"{name}.conv.weight"]
        return F.conv2d(same(x, kernel.shape[-1], stride, 0.0), kernel, stride=stride)

    x = norm(F.conv2d(x, weights["embedder.0.weight"], stride=2, padding=3), "embedder.1").relu()
    x = F.max_pool2d(same(x, 3, 2, -math.inf), 3, 2)
    for i in range(4):
        name, stride = f"encoder.stages.{i}", 1 if i == 0 else 2
        y = norm(conv(x, f"{name}.conv1", stride), f"{name}.norm1").relu()
        y = norm(conv(y, f"{name}.conv2"), f"{name}.norm2")
        if x.shape != y.shape:
            x = norm(conv(x, f"{name}.shortcut.0", stride), f"{name}.shortcut.1")
        x = (x + y).relu()
    return x


@pytest.mark.parametrize("size", [(128, 128), (84, 84), (61, 50)])
def test_resnet10_is_hil_serls(tmp_path: Path, size: tuple[int, int]) -> None:
    weights = group_norm_weights()
    save_file(weights, tmp_path / "model.safetensors")
    expected = flax_resnet10(weights, normalised(frames(*size)))
    torch.testing.assert_close(load_trunk(str(tmp_path))(frames(*size)), expected, rtol=1e-4, atol=1e-4)


def test_both_generations_of_names_on_the_hub_give_the_same_network(tmp_path: Path) -> None:
    for name, old in (("new", False), ("old", True)):
        torch.manual_seed(3)
        (tmp_path / name).mkdir()
        save_file(group_norm_weights(old_names=old), tmp_path / name / "model.safetensors")
    new, old = (load_trunk(str(tmp_path / name))(frames()) for name in ("new", "old"))
    assert torch.equal(new, old)


def randomised(model: nn.Module) -> nn.Module:
    """Random statistics, so that nothing in a batch normalisation is left at 0 or 1."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight.data, module.bias.data, module.running_mean):
                tensor.normal_(0.5, 0.2)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    return model.eval()


@pytest.mark.parametrize("options", [{"layer_type": "basic", "depths": [1, 1, 2, 1]}, {"layer_type": "bottleneck"}])
@pytest.mark.parametrize("headed", [False, True])
def test_folders_of_transformers_are_read(tmp_path: Path, options: dict[str, Any], headed: bool) -> None:
    from transformers import ResNetConfig, ResNetForImageClassification, ResNetModel

    defaults: dict[str, Any] = {"depths": [1, 2, 1, 1], "embedding_size": 8, "hidden_sizes": [16, 32, 32, 64]}
    config = ResNetConfig(**(defaults | options))
    model = randomised((ResNetForImageClassification if headed else ResNetModel)(config))
    model.save_pretrained(tmp_path)  # type: ignore[operator]
    body = model.resnet if headed else model
    with torch.no_grad():
        expected = body(normalised(frames())).last_hidden_state  # type: ignore[operator]
    torch.testing.assert_close(load_trunk(str(tmp_path))(frames()), expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_files_of_torchvision_are_read(tmp_path: Path, name: str) -> None:
    import torchvision

    model = randomised(torchvision.models.get_model(name, weights=None))
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    trunk = load_trunk(str(tmp_path / "weights.pth"))
    with torch.no_grad():
        body = nn.Sequential(*list(model.children())[:-2])
        expected = body(normalised(frames(64, 64, 1)))
    torch.testing.assert_close(trunk(frames(64, 64, 1)), expected, rtol=1e-3, atol=1e-2)
    # torchvision publishes 11.69 and 25.56 M, of which these are its last layer's and its normalisations' weights.
    layer, kept = model.fc.weight.numel() + 1000, sum(v.numel() for v in trunk.state_dict().values())  # type: ignore[union-attr,operator]
    scales = sum(m.num_features for m in model.modules() if isinstance(m, nn.BatchNorm2d))
    assert kept == sum(p.numel() for p in model.parameters()) - layer - scales


# ---------------------------------------------------------------- shapes and counts


def test_parameters_of_resnet10() -> None:
    convolutions = 3 * 64 * 49
    convolutions += 2 * 9 * 64 * 64
    for a, b in ((64, 128), (128, 256), (256, 512)):
        convolutions += 9 * a * b + 9 * b * b + a * b
    norms = 2 * (64 + 2 * 64 + 3 * (128 + 256 + 512))
    kept = FrozenResNet(RESNET10).state_dict()
    assert sum(v.numel() for v in kept.values()) == convolutions + norms == 4_905_792


@pytest.mark.parametrize(("size", "expected"), [((128, 128), (4, 4)), ((84, 84), (3, 3)), ((64, 224), (2, 7))])
def test_map_sizes_follow_from_the_frames(size: tuple[int, int], expected: tuple[int, int]) -> None:
    trunk = FrozenResNet(RESNET10)
    assert trunk.map_size(*size) == expected
    assert trunk(frames(*size, batch=1)).shape == (1, 512, *expected)


def test_bytes_and_unit_floats_are_normalised_alike() -> None:
    trunk = FrozenResNet(TrunkConf(norm="group", stem=8, widths=[8, 8, 8, 8], depths=[1, 1, 1, 1]))
    torch.testing.assert_close(trunk(frames()), trunk(frames() / 255.0), rtol=1e-4, atol=1e-5)


# ---------------------------------------------------------------- frozen


def test_there_is_nothing_to_train() -> None:
    trunk = FrozenResNet(RESNET10)
    assert not list(trunk.parameters())
    assert not trunk.train().training
    assert not any(module.training for module in nn.Sequential(trunk).train()[0].modules())
    assert not trunk(frames(32, 32)).requires_grad


def test_a_batch_normalisation_leaves_no_statistics_that_could_drift(tmp_path: Path) -> None:
    import torchvision

    torch.save(randomised(torchvision.models.resnet18(weights=None)).state_dict(), tmp_path / "weights.pth")
    trunk = load_trunk(str(tmp_path / "weights.pth")).train()
    assert not [m for m in trunk.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert not [name for name in trunk.state_dict() if "running" in name or "tracked" in name]
    before = {k: v.clone() for k, v in trunk.state_dict().items()}
    first = trunk(frames(48, 48))
    trunk(frames(48, 48) // 2)
    assert torch.equal(trunk(frames(48, 48)), first)
    assert all(torch.equal(v, before[k]) for k, v in trunk.state_dict().items())


# ---------------------------------------------------------------- what is refused


def test_no_weights_no_encoder() -> None:
    with pytest.raises(ConfigError, match="encoder=resnet needs weights"):
        load_trunk("")


@pytest.mark.parametrize("reference", ["./nowhere", "/nowhere/resnet10", "nowhere", "a/b/c"])
def test_a_folder_that_does_not_exist_is_not_looked_for_on_the_hub(reference: str) -> None:
    with pytest.raises(UserError, match="no such folder or file"):
        load_trunk(reference)


def test_without_a_network_the_message_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=r"hf download helper2424/resnet10 --local-dir DIR(.|\n)*encoder\.weights=DIR"):
        load_trunk("helper2424/resnet10")


def test_the_hubs_cache_is_enough(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What an earlier download left behind is used, through the real huggingface_hub, and no code in it is run."""
    import huggingface_hub.constants

    repo = tmp_path / "models--helper2424--resnet10"
    resnet10_folder(repo / "snapshots" / ("c0" * 20))
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("c0" * 20)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub._snapshot_download.constants.HF_HUB_CACHE", str(tmp_path))
    direct = load_trunk(str(resnet10_folder(tmp_path / "direct")))
    assert torch.equal(load_trunk("helper2424/resnet10")(frames()), direct(frames()))


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no model\.safetensors"):
        load_trunk(str(tmp_path))


def test_weights_of_something_else(tmp_path: Path) -> None:
    save_file({"classifier.weight": torch.zeros(2), "lstm.weight": torch.zeros(2)}, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match="not the weights of a plain ResNet: it holds 'lstm.weight'"):
        load_trunk(str(tmp_path))
    save_file({"fc.weight": torch.zeros(2)}, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match="it lacks the first layers"):
        load_trunk(str(tmp_path))


@pytest.mark.parametrize("key", ["encoder.stages.1.norm2.group_norm.bias", "encoder.stages.3.conv1.conv.weight"])
def test_incomplete_weights_are_refused(tmp_path: Path, key: str) -> None:
    weights = group_norm_weights()
    del weights[key]
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=r"missing: stages\.[13]\.0\.units\.[01]"):
        load_trunk(str(tmp_path))


def test_grouped_convolutions_are_refused(tmp_path: Path) -> None:
    import torchvision

    torch.save(torchvision.models.resnext50_32x4d(weights=None).state_dict(), tmp_path / "x.pth")
    with pytest.raises(UserError, match="shape of stages"):
        load_trunk(str(tmp_path / "x.pth"))


def test_a_damaged_file(tmp_path: Path) -> None:
    for name in ("model.safetensors", "weights.pth"):
        (tmp_path / name).write_bytes(b"no weights")
        with pytest.raises(UserError, match="weights cannot be read"):
            load_trunk(str(tmp_path / name))


class Evil:
    """What a pickle runs when it is loaded carelessly."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("code_was_run"),))


def test_code_in_a_file_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"conv1.weight": Evil()}, tmp_path / "weights.pth")
    with pytest.raises(UserError, match="not a file of weights"):
        load_trunk(str(tmp_path / "weights.pth"))
    assert not (tmp_path / "code_was_run").exists()


def test_options_the_weights_do_not_show_are_refused(tmp_path: Path) -> None:
    resnet10_folder(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"hidden_act": "gelu"}))
    with pytest.raises(UserError, match="hidden_act=gelu is not supported"):
        load_trunk(str(tmp_path))
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match="config cannot be read"):
        load_trunk(str(tmp_path))


def test_torchvision_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    import torchvision

    with pytest.raises(UserError, match="did you mean 'resnet50'"):
        load_trunk("torchvision:resnet5")
    model = randomised(torchvision.models.resnet18(weights=None))
    asked: list[dict[str, Any]] = []

    def published(url: str, **options: Any) -> dict[str, Tensor]:
        asked.append(options)
        return dict(model.state_dict())

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", published)
    assert load_trunk("torchvision:resnet18").conf.widths == [64, 128, 256, 512]
    assert asked[0]["weights_only"] is True

    def offline(url: str, **options: Any) -> None:
        raise OSError("no network")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    with pytest.raises(UserError, match=r"encoder\.weights=FILE\.pth, downloaded from https://"):
        load_trunk("torchvision:resnet18")
