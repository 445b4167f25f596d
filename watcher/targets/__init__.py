"""What is watched: scope, partition, pre-images, the identity of the deployment."""
