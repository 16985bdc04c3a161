"""Training in stages, each from the best model of the one before (`srpu train-stages`).

Values in train_config.py hold for every stage that does not say otherwise.

多阶段训练：每个阶段从上一阶段的最佳模型开始（`srpu train-stages`）。
各阶段没有写明的设置取自 train_config.py。

`srpu config check` finds mistakes; `srpu config show` prints what holds and why.
运行 `srpu config check` 检查设置，`srpu config show` 显示实际生效的值及其来源。
"""

# The stages, in their order; each is a dictionary with a "name" and, where it differs, any of
# "datasets": names of data sets, e.g. ["labeled"], or ["synthetic"] for generated images;
# "train_json", "val_json": index files to take the training or validation images from instead;
# "pretrained_model_path", "pretrained_encoder_path": weights to start from instead of the stage before;
# "freeze_encoder" and every other setting of training, in lower case: "num_epochs", "batch_size", "learning_rate"
# (or "base_lr"), "loss_function", "crop_size", "flip" …
# 各阶段，按顺序执行；每个阶段是一个字典，必须有 "name"，其余按需填写：
# "datasets"：数据集名称，例如 ["labeled"]；["synthetic"] 表示自动生成的图像；
# "train_json"、"val_json"：改用这些索引文件中的训练或验证图像；
# "pretrained_model_path"、"pretrained_encoder_path"：不从上一阶段、而从这些权重开始；
# "freeze_encoder" 以及其他任何训练设置（小写）："num_epochs"、"batch_size"、"learning_rate"
# （或 "base_lr"）、"loss_function"、"crop_size"、"flip" 等。
STAGES = [
    {"name": "all_data", "num_epochs": 40},
    {"name": "finer", "num_epochs": 20, "learning_rate": 0.0002, "warmup_epochs": 0},
]

# Also write each stage's best model to MODEL_SAVE_DIR/STAGE_best_model.pth.
# 同时把每个阶段的最佳模型保存为 MODEL_SAVE_DIR/阶段名_best_model.pth。
SAVE_BEST_MODEL = True

# Also write the model of each stage's last epoch to MODEL_SAVE_DIR/STAGE_last_model.pth.
# 同时把每个阶段最后一轮的模型保存为 MODEL_SAVE_DIR/阶段名_last_model.pth。
SAVE_LAST_MODEL = False

# Keep the state to resume from, also as MODEL_SAVE_DIR/STAGE_checkpoint.pth; without it `--resume` does not work.
# 保留断点续训所需的状态，同时保存为 MODEL_SAVE_DIR/阶段名_checkpoint.pth；关闭后 `--resume` 不可用。
SAVE_CHECKPOINT = True
