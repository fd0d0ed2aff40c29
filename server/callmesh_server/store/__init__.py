"""What the server keeps: records, blobs and secrets.

SQLAlchemy is imported by `database` alone, which the server opens in a thread
while the rest starts: nothing here imports it at import time.
"""
