"""Inspects stored pictures: folders, archives, tables, journals and object stores."""
