"""RECORDS: MLflow runs and the model registry. The only layer that imports mlflow."""
