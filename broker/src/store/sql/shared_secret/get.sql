-- Made by whoever asks first.
select eventflow.shared_secret_v1($1) as value
