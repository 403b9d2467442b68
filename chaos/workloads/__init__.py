"""What the clients do. One file a workload; `WORKLOADS` names them all."""
