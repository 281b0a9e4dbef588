"""
Art: from bytes to text, and from text to cells, pages and pictures.

``encodings``  charsets of files, their detection, and SAUCE records
"""
