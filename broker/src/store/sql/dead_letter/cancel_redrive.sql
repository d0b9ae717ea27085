select eventflow.cancel_redrive_v1($1, $2, $3)
