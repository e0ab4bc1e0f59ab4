"""What the service and the training share at run time: settings, the job queue, the data sets."""
