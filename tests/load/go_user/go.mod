module go_user

go 1.21
