"""What every trainer needs: the loop over steps, schedules, optimizers, averages, checkpoints and metrics."""
