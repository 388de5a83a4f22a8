"""What passes between the packages of the pipeline, and the threads that pass it on."""
