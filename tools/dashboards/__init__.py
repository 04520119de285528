"""Grafana's boards for a mesh, on Istio's names of metrics: Istio's own meshes fit them, too."""
