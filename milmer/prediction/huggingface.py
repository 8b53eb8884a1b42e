"""The model and its processor as transformers knows them, by ``AutoModel`` and ``AutoProcessor``.

The file in a model's folder that ``trust_remote_code`` runs imports this module.
"""

from transformers import AutoProcessor

from milmer.model.huggingface import MilmerConfig, MilmerForEmotionClassification
from milmer.prediction.processor import MilmerProcessor

__all__ = ["MilmerConfig", "MilmerForEmotionClassification", "MilmerProcessor"]

AutoProcessor.register(MilmerConfig, MilmerProcessor, exist_ok=True)
