"""The model is one of Hugging Face's: its Trainer trains it, its hub would take it."""

import json

import torch
from transformers import AutoConfig, AutoModel, PreTrainedModel, Trainer, TrainingArguments

from milmer.model.huggingface import MilmerConfig, MilmerForEmotionClassification

SMALL = {"hidden_size": 16, "num_heads": 2, "feed_forward": 32, "num_queries": 4, "num_layers": 1}


def bags(count, seed):
    """Segments whose class moves the first channel's EEG and all face tokens."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(4, (count,), generator=draw)
    eeg = torch.randn(count, 4, 64, generator=draw) * (1 + labels[:, None, None])
    tokens = torch.randn(count, 6, 4, 16, generator=draw) + 2 * torch.eye(16)[labels][:, None, None]
    return [
        {"eeg": e, "face_tokens": t, "valid": torch.ones(6, dtype=torch.bool), "labels": label}
        for e, t, label in zip(eeg, tokens, labels, strict=True)
    ]


def test_the_trainer_trains_evaluates_and_saves_it(tmp_path):
    shapes = {"num_channels": 4, "num_samples": 64, "num_instances": 6}
    config = MilmerConfig(options=SMALL, num_tokens=4, token_dim=16, **shapes)
    torch.manual_seed(0)
    trainer = Trainer(
        model=MilmerForEmotionClassification(config),
        args=TrainingArguments(
            output_dir=str(tmp_path / "work"),
            num_train_epochs=6,
            per_device_train_batch_size=16,
            learning_rate=5e-3,
            label_names=["labels"],
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
            save_strategy="no",
        ),
        train_dataset=bags(256, 0),
        eval_dataset=bags(64, 1),
    )
    before = trainer.evaluate()["eval_loss"]
    trainer.train()
    assert trainer.evaluate()["eval_loss"] < before / 3
    logits = trainer.predict(bags(64, 1)).predictions[0]
    truth = torch.stack([bag["labels"] for bag in bags(64, 1)]).numpy()
    assert (logits.argmax(1) == truth).mean() > 0.9
    trainer.save_model(str(tmp_path / "model"))
    again = AutoModel.from_pretrained(tmp_path / "model").eval()
    bag = {k: v[None] for k, v in bags(1, 1)[0].items()}
    assert torch.equal(again(**bag).logits, trainer.model.eval()(**bag).logits)


def test_it_is_registered_and_its_configuration_comes_back(tmp_path):
    config = MilmerConfig(options=SMALL, id2label={0: "low", 1: "high"})
    MilmerForEmotionClassification(config).save_pretrained(tmp_path)
    again = AutoConfig.from_pretrained(tmp_path)
    assert isinstance(again, MilmerConfig)
    assert again.model == config.model
    assert again.id2label == {0: "low", 1: "high"}
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == [
        "MilmerForEmotionClassification"
    ]
    assert "device" not in (tmp_path / "config.json").read_text()


def test_uploading_is_the_base_classs_own():
    assert MilmerForEmotionClassification.push_to_hub is PreTrainedModel.push_to_hub
    assert MilmerForEmotionClassification.save_pretrained is PreTrainedModel.save_pretrained
