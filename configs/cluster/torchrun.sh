#!/usr/bin/env bash
# Several machines without a scheduler: run the same command on each. They share this folder (by NFS, for example) and
# can connect to HEAD, the first of them.
#   NODES=2 PROCESSES=4 HEAD=node1 bash configs/cluster/torchrun.sh -c configs/train.yaml -c configs/trainer/ddp.yaml
# A lost process is restarted, up to RESTARTS times, and all of them resume from last.ckpt.
set -euo pipefail
: "${NODES:?expected the number of machines}" "${HEAD:?expected the address of the first machine}"
exec python -m torch.distributed.run --nnodes="$NODES" --nproc-per-node="${PROCESSES:=1}" \
    --max-restarts="${RESTARTS:-3}" --rdzv-backend=c10d --rdzv-endpoint="$HEAD:${PORT:-29500}" \
    --rdzv-id="${JOB:-leyden}" \
    -m leyden fit "$@" --trainer.num_nodes="$NODES" --trainer.devices="$PROCESSES"
