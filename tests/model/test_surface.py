"""What users of Hugging Face's models expect of one: outputs, inputs, graphs, folders."""

import copy
import subprocess
import sys

import pytest
import torch
from transformers import SwinConfig

from milmer.model.huggingface import MilmerConfig, MilmerForEmotionClassification
from milmer.model.options import ModelOptions
from milmer.model.trained import load_trained

OPTIONS = {"hidden_size": 16, "num_heads": 2, "feed_forward": 32, "num_queries": 5}
SHAPES = {
    **{"num_channels": 4, "num_samples": 64, "num_instances": 6},
    **{"num_tokens": 3, "token_dim": 16},
}
FUSIONS = ["cross_attention", "mlp", "none"]
SELECTIONS = ModelOptions.model_json_schema()["properties"]["selection"]["enum"]


def model(**options):
    """A model whose linear path, too, has something to say."""
    torch.manual_seed(0)
    made = MilmerForEmotionClassification(MilmerConfig(options=OPTIONS | options, **SHAPES))
    if made.linear is not None:
        torch.nn.init.normal_(made.linear.face.weight, std=0.1)
        torch.nn.init.normal_(made.linear.eeg.weight, std=0.1)
    return made.eval()


def batch(count=3, seed=1):
    """Segments of which the second has two valid faces, and the third none."""
    draw = torch.Generator().manual_seed(seed)
    valid = torch.ones(count, 6, dtype=torch.bool)
    valid[1:2, 2:] = False
    valid[2:3] = False
    return {
        "eeg": 10 * torch.randn(count, 4, 64, generator=draw),
        "face_tokens": torch.randn(count, 6, 3, 16, generator=draw),
        "valid": valid,
    }


@torch.no_grad()
def logits(network, inputs):
    return network(**inputs).logits


def test_a_tuple_in_place_of_names():
    network, inputs = model(), batch()
    named = network(**inputs, labels=torch.tensor([0, 1, 2]))
    plain = network(**inputs, labels=torch.tensor([0, 1, 2]), return_dict=False)
    assert isinstance(plain, tuple)
    expected = (named.loss, named.logits, named.scores, named.selected)
    assert all(torch.equal(a, b) for a, b in zip(plain, expected, strict=True))
    network.config.return_dict = False
    assert isinstance(network(**inputs), tuple)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_hidden_states_and_attentions_are_those_that_the_logits_come_from(fusion):
    network, inputs = model(fusion=fusion, linear_path=False), batch()
    plain = network(**inputs)
    assert plain.hidden_states is None
    assert plain.attentions is None
    output = network(**inputs, output_hidden_states=True, output_attentions=True)
    torch.testing.assert_close(output.logits, plain.logits)
    tokens = 1 + {"cross_attention": 5, "mlp": 9, "none": 9}[fusion] + 4
    assert [tuple(state.shape) for state in output.hidden_states] == [(3, tokens, 16)] * 3
    assert [tuple(a.shape) for a in output.attentions] == [(3, 2, tokens, tokens)] * 2
    torch.testing.assert_close(network.classifier(output.hidden_states[-1][:, 0]), plain.logits)
    for attention in output.attentions:
        torch.testing.assert_close(attention.sum(-1), torch.ones(3, 2, tokens))
        if fusion != "cross_attention":  # two of three chosen instances of the second are valid
            assert not attention[1, :, :, 1 + 2 * 3 : 1 + 3 * 3].any()
            assert (attention[1, :, :, 1 : 1 + 2 * 3] > 0).all()
            assert not attention[2, :, :, 1 : 1 + 3 * 3].any()
    only = network(**inputs, output_attentions=True)
    assert (only.hidden_states, len(only.attentions)) == (None, 2)


def test_gradient_checkpointing_computes_layers_twice_and_the_same_gradients():
    calls = []
    gradients = {}
    for enabled in (False, True):
        network = model(linear_path=False).train()
        network.encoder.layers[0].linear1.register_forward_hook(
            lambda *_, enabled=enabled: calls.append(enabled)
        )
        if enabled:
            network.gradient_checkpointing_enable()
            assert network.is_gradient_checkpointing
        torch.manual_seed(3)  # dropout is drawn again as it was
        network(**batch(), labels=torch.tensor([0, 1, 2])).loss.backward()
        gradients[enabled] = {
            name: p.grad for name, p in network.named_parameters() if p.grad is not None
        }
    assert calls == [False, True, True]
    assert gradients[True].keys() == gradients[False].keys()
    for name, gradient in gradients[True].items():
        torch.testing.assert_close(gradient, gradients[False][name], msg=name)
    network.gradient_checkpointing_disable()
    assert not network.is_gradient_checkpointing


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("how", ["export", "compile"])
def test_one_graph_serves_batches_with_and_without_missing_faces(how, fusion):
    network, inputs = model(fusion=fusion), batch()
    whole = batch(seed=5) | {"valid": torch.ones(3, 6, dtype=torch.bool)}
    with torch.no_grad():
        if how == "export":
            graph = torch.export.export(network, (), kwargs=dict(whole)).module()
        else:
            torch._dynamo.reset()
            graph = torch.compile(network, fullgraph=True, backend="aot_eager")
        for some in (whole, inputs):
            torch.testing.assert_close(graph(**some).logits, network(**some).logits)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_compiled_model_learns_as_the_model_does(fusion):
    """Also where a bag has fewer valid frames than are chosen, or none."""
    network = model(fusion=fusion)
    compiled = torch.compile(network, fullgraph=True, backend="aot_eager")
    torch._dynamo.reset()
    for inputs in (batch(seed=5) | {"valid": torch.ones(3, 6, dtype=torch.bool)}, batch()):
        gradients = []
        for either in (network, compiled):
            network.zero_grad()
            either(**inputs).logits.square().sum().backward()
            named = network.named_parameters()
            gradients.append({n: p.grad.clone() for n, p in named if p.grad is not None})
        assert any(name.startswith("visual.score") for name in gradients[0])
        assert gradients[0].keys() == gradients[1].keys()
        for name, gradient in gradients[0].items():
            torch.testing.assert_close(gradients[1][name], gradient, atol=1e-5, rtol=1e-4, msg=name)


def test_tokens_in_half_precision_and_masks_of_numbers_are_taken_as_they_are():
    network, inputs = model(), batch()
    half = inputs["face_tokens"].half()
    expected = logits(network, inputs | {"face_tokens": half.float()})
    for kind in (torch.int64, torch.uint8, torch.float32):
        given = inputs | {"face_tokens": half, "valid": inputs["valid"].to(kind)}
        assert torch.equal(logits(network, given), expected)
    published = model(eeg_encoder="published")
    given = inputs | {"eeg": inputs["eeg"].double()}
    torch.testing.assert_close(logits(published, given), logits(published, inputs))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("selection", SELECTIONS)
def test_a_batch_of_zero_has_zero_logits(selection, fusion, training):
    network = model(selection=selection, fusion=fusion).train(training)
    output = network(**batch(0))
    assert output.logits.shape == (0, 4)
    assert output.scores.shape == (0, 6)


def with_backbone():
    swin = SwinConfig(
        image_size=56, patch_size=4, embed_dim=8, depths=[1, 1], num_heads=[1, 2], window_size=7
    )
    shapes = SHAPES | {"num_tokens": 49, "backbone_config": swin.to_dict()}
    torch.manual_seed(0)
    return MilmerForEmotionClassification(MilmerConfig(options=OPTIONS, **shapes)).eval()


def test_pictures_of_no_segment_and_of_segments_without_a_face():
    network = with_backbone()
    pictures = torch.randn(2, 6, 3, 56, 56)
    eeg = torch.randn(2, 4, 64)
    empty = network(eeg=eeg[:0], pixel_values=pictures[:0])
    assert empty.logits.shape == (0, 4)
    faceless = torch.zeros(2, 6, dtype=torch.bool)
    with torch.no_grad():
        one = network(eeg=eeg, pixel_values=pictures, valid=faceless).logits
        other = network(eeg=eeg, pixel_values=pictures * torch.nan, valid=faceless).logits
    assert torch.equal(one, other)
    assert one.isfinite().all()


def test_pictures_under_autocast_give_logits_near_those_without():
    network = with_backbone()
    inputs = {"eeg": torch.randn(2, 4, 64), "pixel_values": torch.randn(2, 6, 3, 56, 56)}
    expected = logits(network, inputs)
    with torch.autocast("cpu", torch.bfloat16):
        output = network(**inputs)
    assert output.scores.dtype == torch.float32
    torch.testing.assert_close(output.logits.float(), expected, atol=0.1, rtol=0.1)


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("selection", SELECTIONS)
def test_nan_in_a_masked_instance_touches_nothing(selection, fusion):
    network, inputs = model(selection=selection, fusion=fusion), batch()
    broken = inputs["face_tokens"].clone()
    broken[~inputs["valid"]] = torch.nan
    labels = torch.tensor([0, 1, 2])
    results = []
    for tokens in (inputs["face_tokens"], broken):
        network.zero_grad()
        output = network(**inputs | {"face_tokens": tokens}, labels=labels)
        output.loss.backward()
        gradients = [p.grad.clone() for p in network.parameters() if p.grad is not None]
        results.append((output.logits.detach(), gradients))
    (expected, gradients), (found, others) = results
    assert torch.equal(found, expected)
    assert found.isfinite().all()
    assert all(torch.equal(a, b) for a, b in zip(gradients, others, strict=True))
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("selection", ["attention_weighted_topk", "attention_topk", "amil"])
@pytest.mark.parametrize("scorer", ["gated", "low_rank", "published"])
def test_scores_are_computed_in_float32_under_autocast(selection, scorer):
    network, inputs = model(selection=selection, scorer=scorer), batch()
    with torch.no_grad():
        expected = network(**inputs).scores
        with torch.autocast("cpu", torch.bfloat16):
            scores = network(**inputs).scores
    assert scores.dtype == torch.float32
    assert torch.equal(scores, expected)


def test_who_trusts_the_folders_code_loads_it_without_importing_milmer(tmp_path):
    network, inputs = model(), batch()
    network.save_pretrained(tmp_path / "theirs")
    code = (tmp_path / "theirs/modeling_milmer.py").read_text().splitlines()
    assert len(code) == 3
    torch.save(inputs, tmp_path / "inputs.pt")
    program = (
        "import sys, torch\n"
        "from transformers import AutoModel\n"
        "assert not any(name.startswith('milmer') for name in sys.modules)\n"
        f"model = AutoModel.from_pretrained({str(tmp_path / 'theirs')!r}, trust_remote_code=True)\n"
        f"inputs = torch.load({str(tmp_path / 'inputs.pt')!r})\n"
        f"torch.save(model.eval()(**inputs).logits.detach(), {str(tmp_path / 'logits.pt')!r})\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    torch.testing.assert_close(torch.load(tmp_path / "logits.pt"), logits(network, inputs))


def test_the_code_beside_a_model_is_never_run_here(tmp_path):
    network, inputs = model(), batch()
    network.save_pretrained(tmp_path)
    (tmp_path / "modeling_milmer.py").write_text("raise SystemExit('it ran')\n")
    assert torch.equal(logits(load_trained(tmp_path), inputs), logits(network, inputs))
    again = MilmerForEmotionClassification.from_pretrained(tmp_path).eval()
    assert torch.equal(logits(again, inputs), logits(network, inputs))
    assert copy.deepcopy(again).config.auto_map["AutoModel"].startswith("modeling_milmer.")
