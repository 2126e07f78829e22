"""Exporting: from a trained router to a folder that decides without torch."""
