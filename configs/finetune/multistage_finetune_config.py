"""Fine-tuning in stages, each from the best model of the one before (`srpu finetune-stages`).

Values in finetune_config.py hold for every stage that does not say otherwise.

多阶段微调：每个阶段从上一阶段的最佳模型开始（`srpu finetune-stages`）。
各阶段没有写明的设置取自 finetune_config.py。

`srpu config check` finds mistakes; `srpu config show` prints what holds and why.
运行 `srpu config check` 检查设置，`srpu config show` 显示实际生效的值及其来源。
"""

# The stages, as in multistage_train_config.py. This example first adapts the decoder alone, then everything.
# 各阶段，写法与 multistage_train_config.py 相同；此例先只调整解码器，再调整整个网络。
STAGES = [
    {"name": "decoder", "num_epochs": 10, "freeze_encoder": True},
    {"name": "whole_network", "num_epochs": 20, "learning_rate": 0.0001, "encoder_lr_factor": 0.3},
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
