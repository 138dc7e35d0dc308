"""What is on the disk, and the way back to what is whole: generations, trees, manifests, blobs, room for them."""
