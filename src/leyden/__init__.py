"""Leyden: a store-and-forward DICOM router. ARCHITECTURE.md tells where to begin reading."""

__version__ = "0.1.0"
