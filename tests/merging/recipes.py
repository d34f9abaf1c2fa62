"""mergekit recipes for four-layer models A to E and their BASE: the six of mergekit's examples folder, and more shapes.

Each is a structure that occurs in public recipes; letters stand for models, ADAPTER for a LoRA of BASE.
"""

from __future__ import annotations

WHOLE = "layer_range: [0, 4]"
EXAMPLES = {
    "bio-merge": """
models:
  - {model: A, parameters: {density: 0.5, weight: 0.5}}
  - {model: B, parameters: {density: 0.5, weight: 0.5}}
merge_method: ties
base_model: BASE
parameters: {normalize: false, int8_mask: true}
dtype: float16
""",
    "gradient-slerp": f"""
slices:
  - sources: [{{model: A, {WHOLE}}}, {{model: B, {WHOLE}}}]
merge_method: slerp
base_model: A
parameters:
  t:
    - {{filter: self_attn, value: [0, 0.5, 0.3, 0.7, 1]}}
    - {{filter: mlp, value: [1, 0.5, 0.7, 0.3, 0]}}
    - value: 0.5
dtype: float16
""",
    "linear": """
models:
  - {model: A, parameters: {weight: 1.0}}
  - {model: B, parameters: {weight: 0.3}}
  - {model: C, parameters: {weight: 0.5}}
merge_method: linear
dtype: float16
""",
    "mega": f"""
slices:
  - sources: [{{model: A, {WHOLE}}}, {{model: B, {WHOLE}}}]
merge_method: slerp
base_model: A
parameters:
  t:
    - {{filter: self_attn, value: [0, 0.5, 0.3, 0.7, 1]}}
    - {{filter: mlp, value: [1, 0.5, 0.7, 0.3, 0]}}
    - value: 0.5
dtype: float16
name: gradient-slerp
---
models:
  - {{model: gradient-slerp, parameters: {{density: [1, 0.7, 0.1], weight: 1.0}}}}
  - model: C
    parameters:
      density: 0.33
      weight: [{{filter: mlp, value: 0.5}}, {{value: 0}}]
merge_method: ties
base_model: BASE
parameters: {{normalize: true, int8_mask: true}}
dtype: float16
name: gradient-slerp-ties
""",
    "orcamini-platy-44layer": """
slices:
  - sources: [{model: A, layer_range: [0, 3]}]
  - sources: [{model: B, layer_range: [2, 4]}]
merge_method: passthrough
dtype: float16
""",
    "ties": """
models:
  - {model: A, parameters: {density: [1, 0.7, 0.1], weight: 1.0}}
  - {model: B, parameters: {density: 0.5, weight: [0, 0.3, 0.7, 1]}}
  - model: C
    parameters:
      density: 0.33
      weight: [{filter: mlp, value: 0.5}, {value: 0}]
merge_method: ties
base_model: BASE
parameters: {normalize: true, int8_mask: true}
dtype: float16
""",
}
_THREE = "models: [{model: A, parameters: {weight: 0.4}}, {model: B, parameters: {weight: 0.3}}, {model: C}]"
_GLOBAL = "models: [{model: A}, {model: B}, {model: C}, {model: D}]"
_WITH_BASE = "models: [{model: BASE}, {model: A}, {model: B}]"
SHAPES = {
    "base listed without parameters": f"{_WITH_BASE}\nmerge_method: ties\nbase_model: BASE\n"
    "parameters: {weight: 1.0, density: 1.0}\ndtype: bfloat16",
    "one weight for all": f"{_GLOBAL}\nmerge_method: linear\nparameters: {{weight: 1.0}}\ndtype: bfloat16",
    "own weights before the common one": f"{_THREE}\nmerge_method: task_arithmetic\nbase_model: BASE\n"
    "parameters: {weight: 0.2, lambda: 0.9}\ndtype: float32",
    "dare_ties of five": "models: [{model: A}, {model: B}, {model: C}, {model: D}, {model: E}]\n"
    "merge_method: dare_ties\nbase_model: BASE\nparameters: {weight: 0.2, density: 0.53, int8_mask: true}\n"
    "dtype: bfloat16",
    "dare_linear normalized": f"{_THREE}\nmerge_method: dare_linear\nbase_model: BASE\n"
    "parameters: {weight: 0.5, density: [0.9, 0.5], normalize: true}",
    "five with filters and gradients": """
models:
  - {model: A, parameters: {weight: [0.1, 0.6]}}
  - {model: B, parameters: {weight: [{filter: mlp, value: [0.5, 0, 0.2]}, {filter: self_attn, value: 0.3}, {value: 0}]}}
  - {model: C, parameters: {weight: 0.2}}
  - {model: D, parameters: {weight: [{filter: embed, value: 0.4}, {filter: "*", value: -0.1}]}}
  - {model: E}
merge_method: task_arithmetic
base_model: BASE
parameters: {weight: 0.15, normalize: true, lambda: 0.8}
dtype: bfloat16
""",
    "della with windows": "models:\n  - {model: A, parameters: {weight: 0.6, density: 0.7, epsilon: 0.1}}\n"
    "  - {model: B, parameters: {weight: 0.4, density: 0.5, epsilon: 0.2}}\n  - {model: C, parameters: {weight: 0.1}}\n"
    "merge_method: della\nbase_model: BASE\nparameters: {lambda: 1.1}\ndtype: bfloat16",
    "one model beside its base": "models: [{model: A, parameters: {weight: 0.5, density: 0.6}}]\nmerge_method: ties\n"
    "base_model: BASE\ndtype: bfloat16",
    "a task vector taken away": "models: [{model: A, parameters: {weight: 1}}, {model: B, parameters: {weight: -0.5}}]"
    "\nmerge_method: task_arithmetic\nbase_model: BASE\ndtype: bfloat16",
    "a model named twice": "models:\n  - {model: A, parameters: {weight: 0.5}}\n"
    "  - {model: B, parameters: {weight: 0.3}}\n"
    "  - {model: A, parameters: {weight: 0.2}}\nmerge_method: linear",
    "linear with a base among the models": "models: [{model: A, parameters: {weight: 0.5}}, {model: BASE, parameters:"
    " {weight: 0.5}}]\nmerge_method: linear\nbase_model: BASE",
    "slerp without slices": "models: [{model: A}, {model: B}]\nmerge_method: slerp\nbase_model: B\n"
    "parameters: {t: [0, 0.5, 1, 0.5, 0]}\ndtype: bfloat16",
    "t as a mapping": "models: [{model: A}, {model: B}]\nmerge_method: slerp\nbase_model: A\n"
    "parameters: {t: {value: 0.4}}\ntokenizer_source: base",
    "slices with parameters": """
slices:
  - sources: [{model: A, layer_range: [0, 2]}, {model: B, layer_range: [0, 2]}]
    parameters: {t: 0.2}
  - sources: [{model: A, layer_range: [2, 4]}, {model: B, layer_range: [2, 4]}]
    parameters: {t: [0.2, 0.8]}
merge_method: slerp
base_model: A
parameters: {t: 0.9}
""",
    "slices with bases among the sources": """
slices:
  - sources:
      - {model: BASE, layer_range: [0, 3]}
      - {model: A, layer_range: [0, 3], parameters: {weight: 0.6}}
      - {model: B, layer_range: [0, 3], parameters: {weight: 0.3}}
  - sources:
      - {model: BASE, layer_range: [2, 4]}
      - {model: A, layer_range: [2, 4], parameters: {weight: 0.2}}
      - {model: B, layer_range: [2, 4], parameters: {weight: 0.7}}
merge_method: task_arithmetic
base_model: BASE
dtype: bfloat16
""",
    "slices of unequal sources": """
slices:
  - sources: [{model: A, layer_range: [0, 1], parameters: {weight: 1}}]
  - sources:
      - {model: A, layer_range: [1, 3], parameters: {weight: 0.5}}
      - {model: B, layer_range: [1, 3], parameters: {weight: 0.5}}
  - sources: [{model: B, layer_range: [3, 4], parameters: {weight: 1}}]
merge_method: linear
""",
    "a model merged with other layers of its own": """
slices:
  - sources: [{model: A, layer_range: [0, 2]}]
  - sources:
      - {model: A, layer_range: [1, 3], parameters: {weight: 0.5}}
      - {model: B, layer_range: [2, 4], parameters: {weight: 0.5}}
merge_method: linear
parameters: {weight: 1}
""",
    "layers left out": "slices:\n  - sources: [{model: A, layer_range: [0, 1]}]\n"
    "  - sources: [{model: A, layer_range: [3, 4]}]\nmerge_method: passthrough\ndtype: bfloat16",
    "layers repeated with scaled outputs": """
slices:
  - sources: [{model: A, layer_range: [0, 3]}]
  - sources:
      - model: A
        layer_range: [2, 4]
        parameters:
          scale: [{filter: o_proj, value: 0.0}, {filter: down_proj, value: 0.0}, {value: 1.0}]
merge_method: passthrough
dtype: bfloat16
""",
    "passthrough of one model": "models: [{model: A, parameters: {scale: [{filter: mlp, value: 0.9}]}}]\n"
    "merge_method: passthrough\ndtype: float16",
    "an adapter merged in": "models: [{model: BASE+ADAPTER}]\nmerge_method: passthrough\ndtype: bfloat16",
    "adapters among the parents": "models: [{model: BASE+ADAPTER, parameters: {weight: 0.7}}, {model: A, parameters:"
    " {weight: 0.3}}]\nmerge_method: task_arithmetic\nbase_model: BASE\ndtype: bfloat16",
    "a model as a mapping": "models: [{model: {model: {path: BASE}, lora: {path: ADAPTER}}, parameters: {weight: 0.5}},"
    " {model: {model: {path: A}}, parameters: {weight: 0.5}}]\nmerge_method: linear",
    "out_dtype": "models: [{model: A}, {model: B}]\nmerge_method: linear\nparameters: {weight: 1}\ndtype: float32\n"
    "out_dtype: bfloat16",
    "union of tokenizers": f"{_GLOBAL}\nmerge_method: linear\nparameters: {{weight: 1}}\ntokenizer_source: union",
    "a tokenizer block": "models: [{model: A}, {model: B}]\nmerge_method: linear\nparameters: {weight: 1}\n"
    "tokenizer: {source: A, tokens: {<eos>: {source: B, force: true}}, pad_to_multiple_of: 8}",
    "chat template by name": "models: [{model: A}, {model: B}]\nmerge_method: linear\nparameters: {weight: 1}\n"
    "chat_template: chatml",
    "chat template as text": "models: [{model: A}, {model: B}]\nmerge_method: linear\nparameters: {weight: 1}\n"
    'chat_template: "{% for message in messages %}{{ message.content }}{% endfor %}"',
    "a chain of documents": """
name: first
models: [{model: A}, {model: B}]
merge_method: linear
parameters: {weight: 1}
---
name: second
models: [{model: first}, {model: C}]
merge_method: slerp
base_model: first
parameters: {t: 0.5}
---
models: [{model: second, parameters: {weight: 0.5}}, {model: first, parameters: {weight: 0.5}}]
merge_method: ties
base_model: BASE
dtype: bfloat16
""",
    "modules that say the same": "modules:\n  text_decoder:\n    models: [{model: A}, {model: B}]\n"
    "merge_method: linear\nparameters: {weight: 1}",
    "model_stock": f"{_THREE}\nmerge_method: model_stock\nbase_model: BASE\ndtype: bfloat16",
    "sce": f"{_GLOBAL}\nmerge_method: sce\nbase_model: BASE\nparameters: {{select_topk: 0.6}}",
    "breadcrumbs_ties": f"{_GLOBAL}\nmerge_method: breadcrumbs_ties\nbase_model: BASE\n"
    "parameters: {weight: 0.4, density: 0.9, gamma: 0.01}",
    "della_linear": f"{_GLOBAL}\nmerge_method: della_linear\nbase_model: BASE\n"
    "parameters: {weight: 0.4, density: 0.5, epsilon: 0.1, lambda: 1.0}",
    "nuslerp": "models: [{model: A, parameters: {weight: 0.6}}, {model: B, parameters: {weight: 0.4}}]\n"
    "merge_method: nuslerp\nbase_model: BASE\nparameters: {nuslerp_flatten: false}",
    "karcher": "models: [{model: A}, {model: B}, {model: C}]\nmerge_method: karcher\nparameters: {max_iter: 20}",
    "nearswap": "models: [{model: A}, {model: B}]\nmerge_method: nearswap\nbase_model: A\nparameters: {t: 0.001}",
    "arcee_fusion": "models: [{model: A}, {model: B}]\nmerge_method: arcee_fusion\nbase_model: A",
    "ramplus_tl": f"{_GLOBAL}\nmerge_method: ramplus_tl\nbase_model: BASE\nparameters: {{r: 0.1, alpha: 0.2}}",
    "multislerp": f"{_GLOBAL}\nmerge_method: multislerp\nparameters: {{weight: 0.25, normalize_weights: true}}",
}
