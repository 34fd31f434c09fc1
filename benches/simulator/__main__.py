"""Run the ablation."""

from benches.simulator.ablation import main

main()
