class CreateVisits < ActiveRecord::Migration[6.1]
  def change
    create_table :visits, if_not_exists: true do |table|
      table.string :dyno
      table.timestamps default: -> { "CURRENT_TIMESTAMP" }
    end
  end
end
