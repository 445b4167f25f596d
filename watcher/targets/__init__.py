"""What a stream watches: scope, partition, pre-images, the identity of the deployment."""
