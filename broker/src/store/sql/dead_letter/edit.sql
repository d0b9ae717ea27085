select eventflow.edit_dead_letter_v1($1, $2, $3, $4, $5, $6, $7)
