"""Fewer bits with ai-edge-quantizer. What each recipe does, and why not the stock ones: README.md."""

from pathlib import Path
from typing import Any

import numpy as np

from edgekd.errors import StageError
from edgekd.plugins import need, vendor_errors
from edgekd.target import FloatArray, Program
from edgekd.types import Artifact, Precision
from edgekd_tflite.convert import NEEDED_BY, tools

HINT = "try precision fp16, or another target"
SIGNATURE = "serving_default"


def quantize(program: Program, artifact: Artifact, precision: Precision, calibration: FloatArray, folder: Path) -> Artifact:
    """Build `precision` from the fp32 model. Raises StageError."""
    recipes = {"fp16": _fp16, "w8a8-dynamic": _dynamic, "w8a8": _static}
    if str(precision) not in recipes:
        known = f"choose one of {', '.join(recipes)}"
        raise StageError("quantize", f"target 'tflite' cannot build {precision} from fp32", known)
    need("ai_edge_quantizer", "tflite", NEEDED_BY)
    with vendor_errors("quantize", tools(), HINT):
        from ai_edge_quantizer.quantizer import Quantizer

        from edgekd_tflite.seal import seal

        model, recipe = artifact.path.read_bytes(), recipes[str(precision)]()
        ranges = _ranges(model, recipe, calibration) if precision == Precision.parse("w8a8") else None
        quantized = Quantizer(model, recipe).quantize(ranges, enable_progress_report=False).quantized_model
        return seal(bytes(quantized), program, precision, tools(), folder)


def _fp16() -> Any:
    """Weights in half precision; arithmetic, input and output stay float32."""
    recipe, operation, algorithm = _new_recipe()
    recipe.add_weight_only_config(".*", operation.ALL_SUPPORTED, 16, algorithm_key=algorithm.FLOAT_CASTING)
    return recipe.get_quantization_recipe()


def _dynamic() -> Any:
    """Weights int8 by channel, activations scaled in each query; depthwise weights in half precision.

    XNNPACK has no depthwise kernel with dynamic ranges; the fallback made a whole student 3.5 times slower.
    """
    recipe, operation, algorithm = _new_recipe()
    recipe.add_dynamic_config(".*", operation.ALL_SUPPORTED, 8)
    recipe.add_weight_only_config(".*", operation.DEPTHWISE_CONV_2D, 16, algorithm_key=algorithm.FLOAT_CASTING)
    _add_classifier(recipe)
    return recipe.get_quantization_recipe()


def _static() -> Any:
    """Weights int8 by channel, activations int8 by calibration, the input too. Logits stay float: 8 bits make ties of them."""
    recipe, operation, algorithm = _new_recipe()
    recipe.add_static_config(".*", operation.ALL_SUPPORTED, 8, 8)
    _add_classifier(recipe)
    recipe.add_quantization_config(".*", operation.OUTPUT, algorithm_key=algorithm.NO_QUANTIZE)
    return recipe.get_quantization_recipe()


def _add_classifier(recipe: Any) -> None:
    """One scale for all of its weights: tflite_runtime 2.14 takes those by channel and answers with zeros."""
    from ai_edge_quantizer.qtyping import QuantGranularity, TFLOperationName

    recipe.add_dynamic_config(".*", TFLOperationName.FULLY_CONNECTED, 8, granularity=QuantGranularity.TENSORWISE)


def _new_recipe() -> tuple[Any, Any, Any]:
    from ai_edge_quantizer.qtyping import TFLOperationName
    from ai_edge_quantizer.recipe import AlgorithmName
    from ai_edge_quantizer.recipe_manager import RecipeManager

    return RecipeManager(), TFLOperationName, AlgorithmName


def _ranges(model: bytes, recipe: Any, calibration: FloatArray) -> Any:
    """Least and greatest value of each tensor over all samples; the tool's own moving average clips logits: README.md."""
    from ai_edge_quantizer.calibrator import Calibrator
    from ai_edge_quantizer.recipe_manager import RecipeManager
    from ai_edge_quantizer.utils.qsv_utils import min_max_update

    if not len(calibration) or not np.isfinite(calibration).all():
        raise StageError("quantize", f"{len(calibration)} calibration inputs, expected some, all finite", "check the data")
    manager = RecipeManager()
    manager.load_quantization_recipe(recipe)
    calibrator = Calibrator(model, num_threads=1, qsv_update_func=min_max_update)
    calibrator.calibrate({SIGNATURE: [{"input": sample} for sample in _channel_last(calibration)]}, manager)
    return calibrator.get_model_qsvs()


def _channel_last(samples: FloatArray) -> list[FloatArray]:
    """Batches of one, as the model takes them."""
    moved = np.moveaxis(samples, 1, -1) if samples.ndim == 4 else samples
    return list(np.ascontiguousarray(moved, np.float32)[:, None])
