"""Quality metrics, one file each: `NAME, UNIT, HIGHER_IS_BETTER` and `measure(reference, degraded, sample_rate) -> float`.

Signals are mono float32 [N] of equal length at the same rate. A metric whose library is
missing raises ImportError when measured; callers list it as missing.
"""
