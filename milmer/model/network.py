"""The Milmer model (Wang et al. 2025, arXiv:2502.00547) as a plain module of PyTorch.

(faces ─ Swin) ─ tokens X ─ scores s ─ top K ─ fusion ─┐
                                                       ├─ CLS + transformer ─ classifier
EEG E ─ one token a channel ───────────────────────────┘
"""

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from milmer.model.configuration import NetworkConfig
from milmer.model.eeg import EEG_ENCODERS, LogPowerEEGEncoder
from milmer.model.face_encoder import FaceEncoder
from milmer.model.fusion import CrossAttention, TokenMLP
from milmer.model.linear_path import LinearPath
from milmer.model.selection import (
    SCORERS,
    BagScorer,
    EqualScorer,
    EvenlySpacedScorer,
    FirstScorer,
    PooledScorer,
    PositionScorer,
    RandomScorer,
    Selection,
    choose,
    gather,
    masked_softmax,
)
from milmer.runtime.device import sent

IMAGE, EEG = 0, 1  # token types


class NetworkOutput(NamedTuple):
    """What the network returns.

    ``logits`` (batch, class); ``scores`` (batch, instance) and ``selected`` (batch, K), instances
    from best to worst, are null without faces, and ``selected`` also under ``amil``, which selects
    none. Where they are asked for, ``hidden_states`` has (batch, token, width) before the first
    layer of the transformer and after each, and ``attentions`` (batch, head, token, token) of each;
    the first token is CLS, the last ones are the EEG channels.
    """

    logits: Tensor
    scores: Tensor | None = None
    selected: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


class Encoded(NamedTuple):
    """Tokens ``visual`` and ``eeg`` (batch, token, width), of which ``counts`` says which count."""

    visual: Tensor | None
    counts: Tensor | None
    eeg: Tensor | None
    features: dict[str, Tensor]
    scores: Tensor | None
    selection: Selection | None


class AttentionPooling(nn.Module):
    """Selection ``amil``: a bag is pooled to one token, Σ a_i mean_t X_it (Ilse et al. 2018)."""

    def __init__(self, dim: int):
        super().__init__()
        self.value = nn.Linear(dim, dim)
        self.score = nn.Linear(dim, 1)

    def forward(self, x: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """One token (batch, 1, dim) and the scores (batch, instance)."""
        frames = x.mean(dim=2)  # (batch, instance, dim)
        scores = self.score(torch.tanh(self.value(frames))).squeeze(-1)
        a = masked_softmax(scores, valid)
        return torch.einsum("bi,bid->bd", a, frames).unsqueeze(1), scores


class VisualBranch(nn.Module):
    """From a bag's face tokens to visual tokens: scoring, selection, fusion."""

    def __init__(self, config: NetworkConfig):
        super().__init__()
        options, n, dim = config.model, config.num_instances, config.token_dim
        scorer = SCORERS[options.scorer]
        self.num_select = {"none": 1, "all": n}.get(options.selection, options.num_select)
        self.gradient = options.selection_gradient
        self.dropout = options.instance_dropout
        self.pooling = AttentionPooling(dim) if options.selection == "amil" else None
        self.score: nn.Module | None = None
        match options.selection:
            case "none":
                self.score = FirstScorer()
            case "all":
                self.score = EqualScorer()
            case "random":
                self.score = RandomScorer()
            case "evenly_spaced":
                self.score = EvenlySpacedScorer(self.num_select)
            case "softmax":
                self.score = PositionScorer(n)
            case "attention_weighted_topk":
                self.score = BagScorer(scorer(config.num_tokens, dim))
            case "attention_topk":
                features = dim * (config.num_tokens if options.scorer == "published" else 1)
                self.score = PooledScorer(scorer(config.num_tokens, dim), features, n)
            case "amil":
                pass  # pools, and chooses none
            case _:
                raise ValueError(f"model.selection: no code for {options.selection!r}")
        width = options.hidden_size
        self.project = nn.Linear(dim, width) if dim != width else nn.Identity()
        self.fusion = options.fusion
        match options.fusion:
            case "cross_attention":
                self.attend = CrossAttention(
                    width, options.num_heads, options.num_queries, options.dropout
                )
            case "mlp":
                self.mlp = TokenMLP(width)
            case "none":
                pass
            case _:
                raise ValueError(f"model.fusion: no code for {options.fusion!r}")

    def forward(
        self, x: Tensor, valid: Tensor
    ) -> tuple[Tensor, Tensor | None, Tensor, Selection | None]:
        """From tokens ``x`` (batch, instance, token, dim) and ``valid`` (batch, instance).

        Returns visual tokens (batch, token, width), a mask (batch, token) of those that count,
        which is None where all do, the scores (batch, instance) in float32, and the selection,
        which is None under ``amil``.
        """
        with torch.autocast(x.device.type, enabled=False):
            token, scores = self._score(x, valid)
        if token is not None:
            tokens, present, selection = token.unsqueeze(1), valid.any(1, keepdim=True), None
            weight = None
        else:
            dropout = self.dropout if self.training else 0.0
            selection = choose(scores, valid, self.num_select, self.gradient, dropout)
            credits_all = (
                self.fusion == "cross_attention"
                and self.gradient == "subset"
                and selection.weight.requires_grad
            )
            if credits_all:  # the choice of every instance gets a gradient
                tokens, present, weight = x, valid, selection.weight
            else:
                tokens, present, weight = gather(x, selection), selection.present, None
        count = tokens.shape[2]
        tokens = self.project(tokens)
        if self.fusion == "cross_attention":
            # A bag without any valid instance holds zeros; attending to K of them avoids a NaN.
            attended, most = present | ~present.any(1, keepdim=True), None
            if weight is not None and selection is not None:
                empty = ~valid.any(1, keepdim=True).expand_as(selection.selected)
                weight = weight.scatter_add(1, selection.selected, empty.to(weight.dtype))
                most = selection.selected.shape[1]
            visual = self.attend(tokens, attended, weight, most)
            counts = None
        else:
            visual = tokens.flatten(1, 2)  # (batch, K * token, width)
            visual = self.mlp(visual) if self.fusion == "mlp" else visual
            counts = present.repeat_interleave(count, dim=1)
        return visual, counts, scores, selection

    def _score(self, x: Tensor, valid: Tensor) -> tuple[Tensor | None, Tensor]:
        """The pooled token (batch, 1, dim) under ``amil``, and the scores (batch, instance)."""
        if self.pooling is not None:
            token, scores = self.pooling(x, valid)
            return token, scores.float()
        assert self.score is not None  # a selection pools or scores
        return None, self.score(x, valid).float()


class Encoder(nn.TransformerEncoder):
    """PyTorch's transformer encoder (post-norm, ReLU), read out at the CLS token alone.

    The last layer is computed for that token only: the outputs of the others are never used, and
    leaving them out saves a third of a training step.
    """

    # Both as transformers' gradient_checkpointing_enable() sets them.
    gradient_checkpointing = False
    _gradient_checkpointing_func = staticmethod(partial(checkpoint, use_reentrant=False))

    def forward(  # type: ignore[override]
        self, sequence: Tensor, ignored: Tensor | None
    ) -> Tensor:
        """The encoded first token (batch, width) of ``sequence`` (batch, token, width).

        Tokens are masked out where ``ignored`` (batch, token) is True.
        """
        *layers, last = self.layers
        for layer in layers:
            if self.gradient_checkpointing and self.training:
                sequence = self._gradient_checkpointing_func(
                    partial(layer, src_key_padding_mask=ignored), sequence
                )
            else:
                sequence = layer(sequence, src_key_padding_mask=ignored)
        return _layer(last, sequence[:, :1], sequence, ignored)[0].squeeze(1)

    def details(
        self, sequence: Tensor, ignored: Tensor | None
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """The tokens before the first layer and after each, and the attention in each layer."""
        states: list[Tensor] = [sequence]
        attentions: list[Tensor] = []
        for layer in self.layers:
            sequence, attention = _layer(layer, sequence, sequence, ignored, need_weights=True)
            states.append(sequence)
            assert attention is not None  # it was asked for
            attentions.append(attention)
        return tuple(states), tuple(attentions)


def _layer(
    layer: nn.TransformerEncoderLayer,
    queries: Tensor,
    sequence: Tensor,
    ignored: Tensor | None,
    need_weights: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """A layer's output for the tokens ``queries`` of ``sequence``, and its attention."""
    attended, weights = layer.self_attn(
        queries,
        sequence,
        sequence,
        key_padding_mask=ignored,
        need_weights=need_weights,
        average_attn_weights=False,
    )
    x = layer.norm1(queries + layer.dropout1(attended))
    hidden = layer.linear2(layer.dropout(layer.activation(layer.linear1(x))))
    return layer.norm2(x + layer.dropout2(hidden)), weights


class MilmerNetwork(nn.Module):
    """Logits of the classes, from EEG and a bag of faces, as pictures or as a backbone's tokens."""

    def __init__(self, config: NetworkConfig):
        super().__init__()
        self.config = config
        options = config.model
        width = options.hidden_size
        self.eeg = self.visual = self.backbone = None
        if "eeg" in options.modalities:
            self.eeg = EEG_ENCODERS[options.eeg_encoder](config)
        if "face" in options.modalities:
            self.visual = VisualBranch(config)
            self.backbone = FaceEncoder(config) if config.backbone_config else None
        self.token_type = nn.Embedding(2, width)
        self.cls = nn.Parameter(torch.empty(1, 1, width), requires_grad=options.train_cls)
        self.reset_parameters()
        layer = nn.TransformerEncoderLayer(
            width, options.num_heads, options.feed_forward, options.dropout, batch_first=True
        )
        self.encoder = Encoder(layer, options.num_layers, enable_nested_tensor=False)
        self.head_dropout = nn.Dropout(options.head_dropout)
        self.classifier = nn.Linear(width, config.num_labels)
        self.linear = LinearPath(config) if options.linear_path else None

    def reset_parameters(self) -> None:
        """Draw the CLS token anew; zero where it is not trained."""
        nn.init.normal_(self.cls, std=0.02 if self.config.model.train_cls else 0.0)

    def forward(
        self,
        eeg: Tensor | None = None,
        face_tokens: Tensor | None = None,
        pixel_values: Tensor | None = None,
        valid: Tensor | None = None,
        details: bool = False,
    ) -> NetworkOutput:
        """Classify segments.

        Args:
            eeg: (batch, channel, sample) in µV.
            face_tokens: (batch, instance, token, dim) from the backbone.
            pixel_values: (batch, instance, 3, height, width), normalised as the backbone's image
                processor does; in place of ``face_tokens``, for a model that holds a backbone.
            valid: (batch, instance), not zero where an instance is valid; by default all are. What
                an invalid one holds has no influence, not even if it is NaN.
            details: also return hidden states and attentions.

        Raises ValueError if the input of a modality of the model is missing.
        """
        inputs = {"eeg": eeg, "face_tokens": face_tokens, "pixel_values": pixel_values}
        encoded = self.encode(**inputs, valid=valid)
        logits, states, attentions = self.classify(encoded, details)
        selected = None if encoded.selection is None else encoded.selection.selected
        return NetworkOutput(logits, encoded.scores, selected, states, attentions)

    def encode(self, **inputs: Tensor | None) -> Encoded:
        """What each modality makes of segments, before any are mixed; arguments as above."""
        visual = counts = scores = selection = tokens = None
        power, x, valid = self._inputs(**inputs)
        if self.visual is not None:
            visual, counts, scores, selection = self.visual(x, valid)
        if self.eeg is not None:
            if power is not None and isinstance(self.eeg, LogPowerEEGEncoder):
                tokens = self.eeg.tokens(power)
            else:
                tokens = self.eeg(inputs["eeg"])
        features = {} if self.linear is None else self.linear.features(power, x, valid)
        return Encoded(visual, counts, tokens, features, scores, selection)

    def classify(
        self, encoded: Encoded, details: bool = False
    ) -> tuple[Tensor, tuple[Tensor, ...] | None, tuple[Tensor, ...] | None]:
        """Logits (batch, class) of encoded segments; their hidden states and attentions."""
        parts, counts = [], encoded.counts
        if encoded.visual is not None:
            parts.append(encoded.visual + self.token_type.weight[IMAGE])
        if encoded.eeg is not None:
            parts.append(encoded.eeg + self.token_type.weight[EEG])
        batch = len(parts[0])
        sequence = torch.cat([self.cls.expand(batch, -1, -1), *parts], dim=1)
        ignored = None
        if counts is not None:
            places = sequence.new_ones(batch, sequence.shape[1], dtype=torch.bool)
            places[:, 1 : 1 + counts.shape[1]] = counts  # (batch, token): CLS, visual tokens, EEG
            # A graph cannot depend on values, and a GPU would be waited for; else what nobody
            # needs is not computed.
            if torch.compiler.is_compiling() or not places.is_cpu or not bool(places.all()):
                ignored = ~places
        states = attentions = None
        if details:
            states, attentions = self.encoder.details(sequence, ignored)
            cls = states[-1][:, 0]
        else:
            cls = self.encoder(sequence, ignored)  # (batch, width)
        logits = self.classifier(self.head_dropout(cls))  # (batch, class)
        if self.linear is not None:
            logits = logits + self.linear(encoded.features)
        return logits, states, attentions

    def linear_features(self, **inputs: Tensor | None) -> dict[str, Tensor]:
        """What the linear path looks at, by modality (batch, feature); arguments as above."""
        assert self.linear is not None
        return self.linear.features(*self._inputs(**inputs))

    def _inputs(
        self,
        eeg: Tensor | None = None,
        face_tokens: Tensor | None = None,
        pixel_values: Tensor | None = None,
        valid: Tensor | None = None,
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Standardised log power where it is computed, face tokens and which of them are valid."""
        power = None
        if self.visual is not None:
            faces = pixel_values if face_tokens is None else face_tokens
            if faces is None or (face_tokens is None and self.backbone is None):
                wanted = "face_tokens" if self.backbone is None else "pixel_values"
                raise ValueError(f"{wanted}: this model looks at faces")
            if valid is None:
                valid = torch.ones(faces.shape[:2], dtype=torch.bool, device=self.cls.device)
            valid = valid.bool()
            if face_tokens is None and self.backbone is not None:
                face_tokens = self.backbone(pixel_values, valid)
            valid = sent(valid, self.cls.device)
            if face_tokens is not None:  # in float16 as they are cached, bfloat16 under autocast
                face_tokens = face_tokens.to(self.cls.dtype)
                face_tokens = face_tokens.masked_fill(~valid[..., None, None], 0.0)
        else:
            face_tokens = valid = None
        if self.eeg is not None:
            if eeg is None:
                raise ValueError("eeg: this model looks at EEG")
            if isinstance(self.eeg, LogPowerEEGEncoder):
                power = self.eeg.standardised(eeg)
            elif self.linear is not None and self.linear.power is not None:
                power = self.linear.power.standardised(eeg)
        return power, face_tokens, valid
